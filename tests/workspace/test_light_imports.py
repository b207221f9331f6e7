"""What an import must not drag along, checked in an interpreter of its own."""

import importlib.util
import json
import subprocess
import sys

import pytest

# The back ends' libraries are extras; and client verbs start quickly (within 150 ms of the bare
# interpreter), so what only the server needs is imported where the server starts.
HEAVY_STORES = ("lmdb", "sqlite3", "rocksdict")
LIGHT = {
    "sadik_storage": HEAVY_STORES,
    "sadik_members": ("trio", "sadik_comms"),
    "sadik_register": ("trio", "asyncio"),
    "sadik_vnode": ("trio", "asyncio", "sadik_comms", "sadik_storage", "sadik_metrics"),
    "sadik_hashing": ("trio", "asyncio"),
    # Client verbs stand on it: the hash, TLS and data class machinery come when they are needed.
    "sadik_client": ("trio", "asyncio", "socket", "sadik_hashing", "attrs", "dataclasses"),
    "sadik_client.blocking": ("trio", "asyncio", "ssl", "sadik_hashing", "urllib", "dataclasses"),
    "sadik_node.cli": ("trio", "asyncio", "httptools", "rich", "prometheus_client", *HEAVY_STORES),
}


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    code = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = json.loads(run.stdout)
    assert [name for name in LIGHT[module] if name in loaded] == []
