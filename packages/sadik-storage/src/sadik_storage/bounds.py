"""The checks of keys, values and batches that every backend makes in the same words."""

from __future__ import annotations

from sadik_storage.trait import Batch, StoreKeyError, StoreValueError

__all__ = ["check_batch", "key_error"]


def key_error(key: bytes, key_bytes_max: int) -> StoreKeyError:
    """The error for a key of a length that is not accepted."""
    if not key:
        return StoreKeyError("a key must have at least one byte")
    return StoreKeyError(
        f"a key of {len(key)} bytes (it begins {key[:24]!r}) is longer than {key_bytes_max}"
    )


def check_batch(
    batch: Batch, key_bytes_max: int, value_bytes_max: int
) -> dict[bytes, bytes | None]:
    """The net effect of a batch: each key once, with the last thing that was said of it.

    Raises:
        StoreKeyError: a key is empty or longer than `key_bytes_max`.
        StoreValueError: a value is longer than `value_bytes_max`.
        TypeError: a key or a value is not `bytes`.
    """
    for key, value in batch:
        if type(key) is not bytes or not (value is None or type(value) is bytes):
            raise TypeError(
                f"a batch holds pairs of bytes and bytes or None, not {type(key).__name__} "
                f"and {type(value).__name__}"
            )
        if not 0 < len(key) <= key_bytes_max:
            raise key_error(key, key_bytes_max)
        if value is not None and len(value) > value_bytes_max:
            raise StoreValueError(
                f"a value of {len(value)} bytes (at key {key[:24]!r}) is longer than "
                f"{value_bytes_max}"
            )
    return dict(batch)
