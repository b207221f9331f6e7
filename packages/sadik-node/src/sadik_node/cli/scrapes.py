"""The metrics of every member of a cluster, as its nodes expose them, for the verbs that show them.

Any node names the members; each is then asked at the address that it tells clients, or where that
sends operators to. All are asked at once and with little patience.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from sadik_client import SadikError, Settings
from sadik_node.following import follow

if TYPE_CHECKING:
    from sadik_client.blocking import Client
    from sadik_node.cli.common import Session

__all__ = ["ClusterScrapes", "Scrape", "parse_metrics", "quantile"]

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_ASKING = Settings(ring=False, retries=False, timeout_s=2, node_timeout_s=2, connect_timeout_s=1)
_GONE = ("left",)

Labels = tuple[tuple[str, str], ...]


@define
class Scrape:
    """What a node's ``/metrics`` said at a moment."""

    at_s: float
    samples: dict[str, dict[Labels, float]] = Factory(dict)

    def total(self, name: str, **labels: tuple[str, ...]) -> float:
        """The sum over the samples whose labels are among those given."""
        return sum(
            value
            for found, value in self.samples.get(name, {}).items()
            if all(dict(found).get(label) in accepted for label, accepted in labels.items())
        )

    def buckets(self, name: str, **labels: tuple[str, ...]) -> dict[float, float]:
        """A histogram's cumulative buckets by upper bound, summed over its series."""
        found: dict[float, float] = {}
        for series, value in self.samples.get(f"{name}_bucket", {}).items():
            said = dict(series)
            if all(said.get(label) in accepted for label, accepted in labels.items()):
                bound = float(said["le"])
                found[bound] = found.get(bound, 0.0) + value
        return found


def parse_metrics(text: str, at_s: float) -> Scrape:
    """Read Prometheus text as nodes write it: no timestamps, one sample a line."""
    scrape = Scrape(at_s)
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        found = _SAMPLE.fullmatch(line)
        if found is not None:
            labels = tuple(_LABEL.findall(found[2] or ""))
            scrape.samples.setdefault(found[1], {})[labels] = float(found[3])
    return scrape


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The bound below which ``share`` of the observations lie, by cumulative buckets.

    Infinity where they lie above the last finite bound; None without observations.
    """
    whole = buckets.get(float("inf"), 0.0)
    if not whole:
        return None
    return next(bound for bound in sorted(buckets) if buckets[bound] >= share * whole)


class ClusterScrapes:
    """Scrapes all members, again and again, over connections that it keeps."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._scheme = session.url.partition("://")[0]
        self._clients: dict[str, Client] = {}
        self._urls = [session.url]

    def take(self) -> list[tuple[dict[str, Any], Scrape | None]]:
        """Every member that has not left, by name, with what it told; None if it told nothing."""
        members = self._members()
        with ThreadPoolExecutor(max_workers=max(1, min(32, len(members)))) as pool:
            return list(zip(members, pool.map(self._scrape, members), strict=True))

    def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients.values():
            client.close()

    def _members(self) -> list[dict[str, Any]]:
        """Asked of the node that was named, or of whichever other one answers."""
        for url in self._urls:
            try:
                found = self._client(url).members()["members"]
            except SadikError:
                continue
            there = [member for member in found if member["state"] not in _GONE]
            known = [f"{self._scheme}://{m['http']}" for m in there if m["state"] == "up"]
            self._urls = list(dict.fromkeys([self._session.url, url, *known]))
            return sorted(there, key=lambda member: str(member["name"]))
        with self._session.asking() as client:  # ends the verb, and says why
            client.members()
        return []

    def _scrape(self, member: dict[str, Any]) -> Scrape | None:
        if member["state"] == "down":
            return None
        url = f"{self._scheme}://{member['http']}"
        try:
            answer = self._client(url).request("GET", "/metrics")
            elsewhere = follow(answer, member["name"], self._connect)
            if elsewhere is not None:
                self._replace(url, elsewhere)
                answer = elsewhere.request("GET", "/metrics")
        except SadikError:
            self._replace(url, None)  # it may have come back, and be elsewhere
            return None
        if answer.status != 200:
            return None
        return parse_metrics(answer.body.decode(), time.monotonic())

    def _client(self, url: str) -> Client:
        if url not in self._clients:
            self._clients[url] = self._connect(url)
        return self._clients[url]

    def _connect(self, url: str) -> Client:
        return self._session.connect_to(url, _ASKING)

    def _replace(self, url: str, client: Client | None) -> None:
        old = self._clients.pop(url, None)
        if old is not None:
            old.close()
        if client is not None:
            self._clients[url] = client
