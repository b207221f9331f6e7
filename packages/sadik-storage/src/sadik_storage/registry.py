"""Which backends are installed: the entry points of the group `sadik.storage`.

A distribution that depends on `sadik-storage` alone adds a backend by registering its class:

```toml
[project.entry-points."sadik.storage"]
mine = "my_package.store:MyStore"
```
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from sadik_storage.trait import Store, StoreError

__all__ = ["GROUP", "StoreBackendError", "available", "load"]

GROUP = "sadik.storage"
"""The entry point group."""


class StoreBackendError(StoreError, LookupError):
    """A backend of that name is not installed, cannot be imported, or is not a `Store`."""


def available() -> dict[str, EntryPoint]:
    """The registered backends by name, in order of name; none is imported.

    Raises:
        StoreBackendError: two distributions register different classes under one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda each: (each.name, each.value)):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise StoreBackendError(
                f"two installed distributions register the storage backend {point.name!r}: "
                f"{other.value} and {point.value}; uninstall one"
            )
    return found


def load(name: str) -> type[Store]:
    """The backend class registered as `name`.

    Raises:
        StoreBackendError: there is none (the message lists those there are), or it needs a library
            that is not installed, or what is registered is not a `Store`.
    """
    points = available()
    point = points.get(name)
    if point is None:
        names = ", ".join(points) or "none"
        raise StoreBackendError(f"no storage backend {name!r} is installed; there are: {names}")
    try:
        backend = point.load()
    except (ImportError, AttributeError) as error:
        package = point.dist.name if point.dist is not None else point.value
        raise StoreBackendError(
            f"the storage backend {name!r} ({point.value}) cannot be imported: {error}; "
            f'if it is an extra, install it: pip install "{package}[{name}]"'
        ) from error
    if not (isinstance(backend, type) and issubclass(backend, Store)):
        raise StoreBackendError(
            f"what is registered as the storage backend {name!r} ({point.value}) is not a Store"
        )
    return backend
