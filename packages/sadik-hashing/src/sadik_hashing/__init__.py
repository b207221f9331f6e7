"""Consistent hashing: hash algorithms, tokens, partitions, claim, preference lists, hash trees."""

from sadik_hashing.algorithms import (
    HashAlgorithm,
    UnknownAlgorithmError,
    algorithm_names,
    check_algorithm,
    load_algorithm,
)
from sadik_hashing.blake3_hash import BLAKE3, Blake3
from sadik_hashing.claim import claim
from sadik_hashing.claimant import Assignment, Claimant, Placed
from sadik_hashing.plan import (
    Balance,
    Load,
    Move,
    balance_of,
    minimum_moves,
    moves,
    reordered,
)
from sadik_hashing.preference import PreferenceTable, preference_list
from sadik_hashing.tokens import (
    PARTITIONS_MAX,
    PARTITIONS_MIN,
    Partitions,
    partition_of,
    token_of,
)
from sadik_hashing.tree import SUM_BYTES, HashTree, differences, record_hash

__all__ = [
    "BLAKE3",
    "PARTITIONS_MAX",
    "PARTITIONS_MIN",
    "SUM_BYTES",
    "Assignment",
    "Balance",
    "Blake3",
    "Claimant",
    "HashAlgorithm",
    "HashTree",
    "Load",
    "Move",
    "Partitions",
    "Placed",
    "PreferenceTable",
    "UnknownAlgorithmError",
    "algorithm_names",
    "balance_of",
    "check_algorithm",
    "claim",
    "differences",
    "load_algorithm",
    "minimum_moves",
    "moves",
    "partition_of",
    "preference_list",
    "record_hash",
    "reordered",
    "token_of",
]
