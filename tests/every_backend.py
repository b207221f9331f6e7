"""The acceptance tour on every backend: what is promised does not depend on how it is stored."""

from __future__ import annotations

import pytest

__all__ = ["every_backend", "every_durable_backend"]

_DURABLE = [
    "lmdb",
    pytest.param("sqlite", marks=pytest.mark.slow),
    pytest.param("rocksdb", marks=pytest.mark.slow),
]

every_durable_backend = pytest.mark.parametrize("backend", _DURABLE, indirect=True)
"""For tests in which nodes are killed and what they had must be there again."""

every_backend = pytest.mark.parametrize(
    "backend", [*_DURABLE, pytest.param("memory", marks=pytest.mark.slow)], indirect=True
)
