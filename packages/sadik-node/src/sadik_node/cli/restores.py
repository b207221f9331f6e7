"""``restore``: a backup put into a new cluster."""

from __future__ import annotations

import click

from sadik_node.backup.nodes import Cluster
from sadik_node.backup.restoring import Restored, Restoring
from sadik_node.backup.vault import open_vault
from sadik_node.cli.backups import chosen_manifest, reporting, work_on
from sadik_node.cli.common import Session, client_options, print_json
from sadik_node.cli.copying import copy_options, open_cluster

__all__ = ["restore"]


@click.command()
@click.argument("address", metavar="DIR")
@click.option("--backup", "backup_id", metavar="ID", help="Which one; default: the latest.")
@copy_options
@client_options
def restore(
    *, session: Session, address: str, backup_id: str | None, jobs: int, patience: int
) -> None:
    """Put a backup in DIR into a new cluster, of whatever size.

    All is as it was: values, siblings, metadata, deletes, instants of expiry, properties of
    buckets. It is done when the hash trees of all owners are those of the backup. All nodes must
    be up, and the cluster empty but for what an interrupted restore of the same backup put there:
    run it again to go on.

    \b
    Example:
      sadik-node restore /mnt/backups/sadik
      sadik-node restore /mnt/backups/sadik --backup 20261126T020000.000000Z
    """
    with reporting("the restore"):
        vault = open_vault(address)
        manifest = chosen_manifest(vault, address, backup_id)
        results: list[Restored] = []
        with open_cluster(session, patience, jobs) as client:
            cluster = Cluster.learn(client, patience)
            try:
                restoring = Restoring(cluster, vault, manifest)
                restoring.refuse_strangers()
                for bucket, properties in manifest.buckets.items():
                    client.set_bucket(bucket, properties)
                partitions = list(range(cluster.ring.partitions))
                results += work_on(
                    "restore: partitions", partitions, restoring.restore, lambda each: each.bytes,
                    jobs=jobs, stop=cluster.stop,
                )  # fmt: skip
            finally:
                cluster.close()
    records, size = sum(each.records for each in results), sum(each.bytes for each in results)
    sent = sum(each.sent for each in results)
    if session.as_json:
        print_json({"backup": manifest.id, "records": records, "bytes": size, "sent": sent})
    else:
        click.echo(
            f"restored {manifest.id}: {records} records, {size} bytes of values; {sent} records "
            "sent, verified by hash at every owner"
        )
