"""Backups of a whole cluster, made and put back while it serves; `docs/backup.md` has the format.

The idea: what a backup is made of are files named by the hash of what is in them, and one manifest
that names those that make a whole. The manifest is written last and whole or not at all, so a
backup that was interrupted is none. A file that is there already need not be written again; that
makes a backup incremental, and one that was interrupted goes on.

What changed is found by the cluster's own hash trees. Their middles cut the ring into 4096 shares
whatever the partitions are, so a backup does not depend on the size of the cluster it came from.
"""
