"""The command ``sadik-node``.

A verb's module is imported when the verb is used and not before, so that each starts as fast as
what it needs; no client verb imports trio, a storage backend or the engine.
"""

from sadik_node.cli.root import main

__all__ = ["main"]
