"""What a machine needs to run a node well, checked one thing after another.

Each module looks at one side and gives findings, each with what to do about it. Nothing here
changes anything: the probe of the disk removes its file, the probe of a port lets go of it.
"""

from sadik_node.doctor.disk import examine_disk
from sadik_node.doctor.finding import Finding, Verdict
from sadik_node.doctor.machine import examine_clock, examine_limits, examine_versions
from sadik_node.doctor.members import Told, examine_members
from sadik_node.doctor.network import examine_ports, examine_seeds
from sadik_node.doctor.secrets import examine_secrets

__all__ = [
    "Finding",
    "Told",
    "Verdict",
    "examine_clock",
    "examine_disk",
    "examine_limits",
    "examine_members",
    "examine_ports",
    "examine_secrets",
    "examine_seeds",
    "examine_versions",
]
