"""Going from a node's clients' listener to its operators' one, where it has one of its own.

The verbs that ask every member know the addresses that members tell clients. What operators alone
are served is refused there with 421 and the place where it is (`sadik_node.http.elsewhere`). An
address means what it means to who dials it: behind a tunnel, "127.0.0.1:7072" may be another node.
So whoever answers there is asked who it is first.
"""

from __future__ import annotations

from collections.abc import Callable

from sadik_client import Response, SadikError
from sadik_client.blocking import Client

__all__ = ["follow"]


def follow(answer: Response, name: str, connect: Callable[[str], Client]) -> Client | None:
    """A client of the operators' listener of the member ``name``, as its ``answer`` tells it.

    None where the answer tells no other place, or ``name`` is not who answers there. ``connect``
    makes a client of a base URL.
    """
    url = answer.problem.get("operators") if answer.status == 421 else None
    if not isinstance(url, str):
        return None
    client = connect(url)
    try:
        told = client.request("GET", "/v1/status")
        if told.status == 200 and told.json()["name"] == name:
            return client
    except (SadikError, ValueError, KeyError, TypeError):
        pass
    client.close()
    return None
