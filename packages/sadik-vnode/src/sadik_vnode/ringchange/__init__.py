"""Changing the ring: one owner slot at a time, while reads and writes go on.

A partition's register passes three values: *write-both*, *read-new*, *done*. Each is decided once,
by a majority of the owners before the change (`deciding`); none is left before every owner that
has not left the cluster has the present one on disk (`adopting`), and write-both not before the
receiver has what the giver held (`filling`). One member at a time drives all of it (`driver`); it
keeps nothing on disk, for the registers say how far everything is.
"""

from sadik_vnode.ringchange.driver import RingChanges

__all__ = ["RingChanges"]
