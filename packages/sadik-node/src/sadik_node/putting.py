"""Writing what was looked at first, into buckets that refuse blind writes, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sadik_client import ContextRequiredError

if TYPE_CHECKING:
    from sadik_client.blocking import Client
    from sadik_client.options import PutOptions, SessionPutOptions

__all__ = ["put_seen"]


def put_seen(
    client: Client,
    bucket: str,
    key: bytes,
    value: bytes,
    context: str | None,
    options: SessionPutOptions,
) -> str | None:
    """Write in place of what a read has shown, whose ``context`` is None where nothing ever was
    there; the context of the write. Raises as `Client.put` does.

    Of a key that never was no read has a context. Where the bucket wants one, the write says as its
    condition that there is nothing; it does not so elsewhere, because a condition costs a read.
    """
    try:
        return client.put(bucket, key, value, **options, context=context).context
    except ContextRequiredError:
        if context is not None:
            raise
    only_new: PutOptions = {**options, "if_none_match": "*", "context": None}
    return client.put(bucket, key, value, **only_new).context
