"""``scrub``: have a node read all that it holds, and look for damage."""

from __future__ import annotations

import click

from sadik_node.cli.common import Session, client_options, fail_answered, print_json, say
from sadik_node.cli.progress import Progress

__all__ = ["scrub"]

_TIMEOUT_S = 60.0


@click.command()
@client_options
def scrub(*, session: Session) -> None:
    """Have one node read all that it holds, and mend what does not match its checksum.

    Every node does this by itself once a week. It is for who suspects a disk. Damaged data are
    never served, and are replaced by what the other owners have.

    \b
    Example:
      sadik-node scrub --node http://127.0.0.1:7080
    """
    with Progress("records read", None) as progress:
        while True:
            # A long pass is answered from time to time; asking again joins it.
            with session.asking() as client:
                answer = client.request("POST", "/v1/scrub", body=b"", timeout_s=_TIMEOUT_S)
            if answer.status not in (200, 202):
                fail_answered(answer.complaint, answer.status)
            found = answer.json()
            if found["finished"]:
                break
            progress.reach(found["records"])
    if session.as_json:
        print_json(found)
    else:
        say(
            f"{found['records']} records and {found['values']} large values read: "
            f"{found['damaged']} damaged, {found['misplaced']} with damaged keys, "
            f"{found['unlisted']} missing in listings, {found['sums_wrong']} sums of the hash tree "
            "wrong; what was found is being mended"
        )
