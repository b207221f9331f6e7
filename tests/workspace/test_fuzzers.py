"""The fuzzers run, from their corpora, and can find something."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sadik_node.http import request_reader
from sadik_node.http.answers import Answer
from sadik_node.http.connection import Connection
from sadik_node.http.request_reader import Reading, RequestReader

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "fuzz"))

import http_target  # noqa: E402 - after the path to it
import run as fuzz_run  # noqa: E402
from targets import TARGETS  # noqa: E402


def test_every_target_has_a_corpus_and_the_makefile_runs_them_all() -> None:
    assert {each.name for each in (ROOT / "fuzz" / "corpus").iterdir()} == TARGETS.keys()
    makefile = (ROOT / "Makefile").read_text("utf-8")
    line = next(each for each in makefile.splitlines() if each.startswith("FUZZ_TARGETS"))
    assert set(line.partition(":=")[2].split()) == TARGETS.keys()


@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_runs_its_corpus_and_mutations(target: str) -> None:
    command = [sys.executable, str(ROOT / "fuzz" / "run.py"), target, "--plain"]
    done = subprocess.run(
        [*command, "--runs", "500", "--seed", "1"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{target}: 500 executions" in done.stdout


def fail(data: bytes) -> None:
    assert b"\xff" not in data


def hang(data: bytes) -> None:
    if b"\xff" in data:
        for _ in range(10_000_000):
            pass


@pytest.mark.parametrize("target", [fail, hang])
def test_a_fuzzer_finds_what_fails_and_what_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: object
) -> None:
    monkeypatch.setattr(fuzz_run, "FINDINGS", tmp_path)
    assert callable(target)
    watch = fuzz_run.Watch("planted", target)
    mutator = fuzz_run.Mutator([b"0123456789"], seed=1)
    inputs = [mutator.next() for _ in range(2_000)]
    with pytest.raises(AssertionError):
        list(map(watch, inputs))
    [found] = (tmp_path / "planted").iterdir()
    assert b"\xff" in found.read_bytes()


def test_mutations_are_the_same_for_the_same_seed() -> None:
    corpus = fuzz_run.corpus_of("messages")
    one, other = fuzz_run.Mutator(corpus, 7), fuzz_run.Mutator(corpus, 7)
    assert [one.next() for _ in range(200)] == [other.next() for _ in range(200)]


def lose_small_parts(take: Callable[..., None]) -> Callable[..., None]:
    def on_body(reader: RequestReader, part: bytes) -> None:
        take(reader, part if len(part) > 1 else b"")

    return on_body


def go_on(refuse: Callable[..., None]) -> Callable[..., None]:
    def refused(reader: RequestReader, answer: Answer) -> None:
        refuse(reader, answer)
        reader.reading = Reading.BETWEEN
        reader._connection.is_closing = reader._connection.queue[-1].close = False

    return refused


HTTP_BUGS: dict[str, tuple[Any, str, Any]] = {
    "a request line in any shape": (RequestReader, "_is_line", lambda *_: True),
    "any framing": (request_reader, "framing_fault", lambda *_: None),
    "bytes held for nobody": (Connection, "let_go", lambda *_: None),
    "a body that depends on the packets": (
        RequestReader, "on_body", lose_small_parts(RequestReader.on_body),
    ),
    "a refusal that goes on": (RequestReader, "refuse", go_on(RequestReader.refuse)),
}  # fmt: skip


@pytest.mark.parametrize("bug", HTTP_BUGS)
def test_the_fuzzer_of_http_finds_planted_bugs(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    corpus = fuzz_run.corpus_of("http")
    mutator = fuzz_run.Mutator(corpus, 1, fuzz_run.words_of("http"))
    inputs = corpus + [mutator.next() for _ in range(2_000)]
    monkeypatch.setattr(http_target, "_hosts", http_target._Hosts())
    monkeypatch.setattr(*HTTP_BUGS[bug])
    with pytest.raises(AssertionError):
        list(map(TARGETS["http"], inputs))


def test_a_dictionary_is_read_as_libfuzzer_reads_it() -> None:
    words = fuzz_run.words_of("http")
    assert b"\r\n\r\n" in words
    assert b'"' in words
    assert b'If-Match: "x"\r\n' in words
    assert b"\x7f" in words
    assert fuzz_run.words_of("frames") == []
