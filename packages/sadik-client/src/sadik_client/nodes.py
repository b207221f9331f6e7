"""The nodes a client knows, the order to ask them in, and their idle connections.

A node that failed is passed over for a while, twice as long with each failure in a row, and never
for ever: it comes last and not never, since it may be all that there is. Given URLs come first, in
their order; learned members follow. Whoever is preferred for a key (its owners) goes before all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sadik_client.actions import Link
from sadik_client.address import Address
from sadik_client.errors import InvalidRequestError
from sadik_client.http1 import ResponseParser, field_line
from sadik_client.settings import Secret

__all__ = ["Connection", "Node", "Nodes"]

_SHUNNED_NS = 1_000_000_000
_SHUNNED_DOUBLINGS_MAX = 5
_USER_AGENT = "sadik-client"
_NODES_MAX = 2048


class Connection:
    """A link and the parser of what comes over it."""

    __slots__ = ("idle_since_ns", "link", "parser")

    def __init__(self, link: Link, parser: ResponseParser) -> None:
        self.link = link
        self.parser = parser
        self.idle_since_ns = 0


class Node:
    """One node, known by its address; by its name too once that was learned."""

    __slots__ = ("address", "failures", "fields", "idle", "is_given", "name", "shunned_until_ns",
                 "url")  # fmt: skip

    def __init__(self, address: Address, token: Secret | None, *, is_given: bool) -> None:
        self.address = address
        self.url = address.url
        self.is_given = is_given
        self.name: str | None = None
        self.failures = 0
        self.shunned_until_ns = 0
        self.idle: list[Connection] = []
        self.fields = field_line("Host", address.authority) + field_line("User-Agent", _USER_AGENT)
        if token is not None:
            self.fields += field_line("Authorization", f"Bearer {token.reveal()}")

    def failed(self, now_ns: int) -> None:
        """It gave no answer: pass it over for a while."""
        doublings = min(self.failures, _SHUNNED_DOUBLINGS_MAX)
        self.shunned_until_ns = now_ns + (_SHUNNED_NS << doublings)
        self.failures += 1

    def worked(self) -> None:
        """It answered."""
        self.failures = 0
        self.shunned_until_ns = 0


class Nodes:
    """All nodes that one client knows."""

    def __init__(
        self, urls: Sequence[str], token: Secret | None, idle_max: int, idle_ns: int
    ) -> None:
        """Start with these.

        Raises:
            InvalidRequestError: there are none, or one is no address of a node.
        """
        if not urls:
            raise InvalidRequestError("a client needs the URL of at least one node")
        self._token = token
        self._idle_max = idle_max
        self._idle_ns = idle_ns
        self._nodes: dict[Address, Node] = {}
        for url in urls:
            address = Address.parse(url)
            self._nodes.setdefault(address, Node(address, token, is_given=True))
        self._is_tls = all(address.is_tls for address in self._nodes)
        self._by_name: dict[str, Node] = {}
        self._idle_count = 0

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def urls(self) -> list[str]:
        """The base URLs of all nodes."""
        return [node.url for node in self._nodes.values()]

    def first(self) -> Node:
        """The node that was given first."""
        return next(iter(self._nodes.values()))

    def candidates(self, now_ns: int, preferred: Sequence[str] = ()) -> list[Node]:
        """All nodes in the order to ask them: the preferred names first, the shunned last."""
        found = [self._by_name[name] for name in preferred if name in self._by_name]
        ordered = list(dict.fromkeys(found))
        if len(ordered) < len(self._nodes):
            ordered += [node for node in self._nodes.values() if node not in ordered]
        if any(node.shunned_until_ns > now_ns for node in ordered):
            ordered.sort(key=lambda node: max(node.shunned_until_ns - now_ns, 0))
        return ordered

    def call(self, node: Node, name: str) -> None:
        """A node said its name; if it had another, that is nobody's now."""
        if node.name is not None and self._by_name.get(node.name) is node:
            del self._by_name[node.name]
        node.name = name
        self._by_name[name] = node

    def learn(self, told_by: Node, members: Iterable[Any], now_ns: int) -> None:
        """Take up a list of members, as ``/v1/members`` has them; those who left are dropped.

        Raises:
            ValueError, KeyError, TypeError: it is no such list.
        """
        named: dict[str, Node] = {}
        present: set[Address] = set()
        for member in members:
            if member["state"] == "left":
                continue
            if member.get("self") is True:
                # It may advertise another address than the one that we reach it by.
                node: Node | None = told_by
            else:
                node = self._node_at(member.get("http"))
            if node is None:
                continue
            present.add(node.address)
            named[str(member["name"])] = node
            if member["state"] == "down" and node.shunned_until_ns <= now_ns:
                node.shunned_until_ns = now_ns + _SHUNNED_NS
        for address, node in list(self._nodes.items()):
            if not node.is_given and address not in present:
                del self._nodes[address]
                self.drop_idle(node)
        for name, node in named.items():
            self.call(node, name)
        self._by_name = {
            name: node for name, node in self._by_name.items()
            if self._nodes.get(node.address) is node and (name in named or node.is_given)
        }  # fmt: skip

    def _node_at(self, http: object) -> Node | None:
        if not isinstance(http, str) or not http:
            return None
        try:
            address = Address.parse(http, is_tls=self._is_tls)
        except InvalidRequestError:
            return None
        if self._is_tls and not address.is_tls:
            return None  # a token that was given for TLS goes nowhere else
        if address not in self._nodes:
            if len(self._nodes) >= _NODES_MAX:
                return None
            self._nodes[address] = Node(address, self._token, is_given=False)
        return self._nodes[address]

    def take_idle(self, node: Node, now_ns: int) -> Connection | None:
        """An idle connection that still stands, the last used one first."""
        while node.idle:
            connection = node.idle.pop()
            self._idle_count -= 1
            is_old = now_ns - connection.idle_since_ns > self._idle_ns
            if not is_old and not connection.link.is_stale():
                return connection
            connection.link.close()
        return None

    def give_back(self, node: Node, connection: Connection, now_ns: int) -> None:
        """A connection is idle now. Beyond the bound the one idle for longest is closed."""
        if self._nodes.get(node.address) is not node:
            connection.link.close()
            return
        connection.idle_since_ns = now_ns
        node.idle.append(connection)
        self._idle_count += 1
        if self._idle_count > self._idle_max:
            holders = [each for each in self._nodes.values() if each.idle]
            oldest = min(holders, key=lambda each: each.idle[0].idle_since_ns)
            oldest.idle.pop(0).link.close()
            self._idle_count -= 1

    def close(self) -> None:
        """Close all idle connections."""
        for node in self._nodes.values():
            self.drop_idle(node)

    def drop_idle(self, node: Node) -> None:
        """Close the idle connections of one node."""
        for connection in node.idle:
            connection.link.close()
        self._idle_count -= len(node.idle)
        node.idle.clear()
