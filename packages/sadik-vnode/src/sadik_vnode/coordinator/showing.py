"""What a client is shown of an object, made of what the replicas have answered together.

Nearly always that is one version, and what has to be sorted, named and left out where there are
siblings is then the same for the version as for the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from sadik_causality import Container, ContextTooLarge, Dot
from sadik_vnode.desk import Desk
from sadik_vnode.etag import etag_of
from sadik_vnode.keyspace import Key
from sadik_vnode.requests import Found, Missing, Outcome, Result, Tally, Unavailable, VersionView
from sadik_vnode.version import MalformedVersion, Version
from sadik_vnode.view import counting, last_written

__all__ = ["present", "shown"]


def present(desk: Desk, bucket: str, merged: Container[Version]) -> Mapping[Dot, Version]:
    """The versions that count now, by dot in order, deletes included."""
    return counting(merged.versions, desk.buckets.get(bucket).conflict, desk.wall_ns)


def shown(
    desk: Desk,
    key: Key,
    merged: Container[Version],
    there: Collection[Dot],
    tally: Tally,
    *,
    latest: bool,
) -> Result:
    """The answer to a get. ``there`` are the dots that `present` told, in order, the bodies of all
    which have a value in hand. With ``latest`` one of several siblings is shown.
    """
    node = desk.self_id
    if not merged:
        return Missing(None, tally, node)
    versions = merged.versions
    values = [dot for dot in there if not versions[dot].is_deleted]
    siblings = len(values)
    unshown: list[Dot] = []
    if latest and siblings > 1:
        last = last_written({dot: versions[dot] for dot in values})
        unshown = [dot for dot in values if dot != last]
        values = [last]
    token = _token(desk, key, merged, unshown)
    if not values:
        return Missing(token, tally, node)
    etag = etag_of(there)
    try:
        if len(there) == 1:
            (dot,) = values
            return Found([_view(versions[dot], etag)], token, etag, tally, node)
        views = [_view(versions[dot], etag_of((dot,))) for dot in values]
    except MalformedVersion as error:
        desk.counters.damaged_records += 1
        return Unavailable(Outcome.INDETERMINATE, f"a version is damaged: {error}", tally)
    return Found(views, token, etag, tally, node, siblings)


def _token(desk: Desk, key: Key, merged: Container[Version], unshown: Iterable[Dot]) -> str:
    """A context that covers all that the answer shows: all that was merged but what it does not
    show, or, where that is too long for a header, exactly the live versions.
    """
    sealer = desk.sealer
    assert sealer is not None, "a node without a cluster key takes no requests"
    context = merged.context.without_dots(unshown) if unshown else merged.context
    try:
        return sealer.seal(key.bucket, key.key, context)
    except ContextTooLarge:
        live = merged.live_context().without_dots(unshown)
        return sealer.seal(key.bucket, key.key, live)


def _view(version: Version, etag: str) -> VersionView:
    head = version.parsed()
    assert version.body is not None, "bodies are fetched before the answer"
    return VersionView(
        version.body, head.content_type, head.meta, head.timestamp, etag, head.expires_ms
    )
