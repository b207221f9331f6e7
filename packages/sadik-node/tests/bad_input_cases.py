"""The bad inputs of `bad_inputs/`, and how one is sent and its answers are judged.

Each file is a list of cases. ``send`` is what goes over the wire, a byte for each character below
U+0100, ``{{text*n}}`` being the text n times. ``answers`` are the statuses of all that comes back,
in order; ``lines``, of a batch, those of its lines. ``then`` says whether the connection lives on.
"""

from __future__ import annotations

import json
import re
import socket
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["CASES", "check"]

FILES = sorted((Path(__file__).parent / "bad_inputs").glob("*.toml"))
CASES = {file.stem: tomllib.loads(file.read_text("utf-8"))["case"] for file in FILES}
OK = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
_REPEATED = re.compile(r"\{\{(.+?)\*([0-9]+)\}\}", re.DOTALL)


def sent(case: dict[str, Any]) -> bytes:
    text = _REPEATED.sub(lambda found: found[1] * int(found[2]), case["send"])
    return text.encode("latin-1")


class Client:
    """A raw connection that can read answers off what it was sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.socket = socket.create_connection((parts.hostname, parts.port or 0), timeout=10)
        self.file = self.socket.makefile("rb")

    def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        line = self.file.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        fields: dict[bytes, bytes] = {}
        while (field := self.file.readline()) != b"\r\n":
            name, _, value = field.rstrip(b"\r\n").partition(b": ")
            fields[name.lower()] = value
        return int(line.split()[1]), fields, self.file.read(int(fields.get(b"content-length", 0)))

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def check(url: str, case: dict[str, Any]) -> None:
    client = Client(url)
    try:
        client.socket.sendall(sent(case))
        fields: dict[bytes, bytes] = {}
        for expected in case["answers"]:
            status, fields, body = client.answer()
            assert status == expected, body
            if status >= 400:
                assert fields[b"content-type"] == b"application/problem+json"
                document = json.loads(body)
                assert document["status"] == status
                assert document["detail"]
            for line, wanted in zip(body.splitlines(), case.get("lines", []), strict=False):
                assert json.loads(line)["status"] == wanted
        if case["then"] == "closed":
            assert fields[b"connection"] == b"close"
            assert client.file.read(1) == b"", "something was answered beyond what is stated"
        else:
            client.socket.sendall(OK)
            assert client.answer()[0] == 200
    finally:
        client.close()
