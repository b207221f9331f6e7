"""Run a fuzzer: ``python fuzz/run.py TARGET [--runs N] [--seconds S] [--seed S]``.

With atheris (``pip install atheris``) inputs are led by the coverage of Sadik's own code; without
it they are mutations of the corpus. A dictionary (``TARGET.dict``) helps either. Either way one
input may take 100 ms of CPU and no more, and memory may not grow; a finding is written to
``build/fuzz/TARGET`` with the way to run it again: ``python fuzz/run.py TARGET FILE``. The exit
code is 0 when nothing was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import re
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FINDINGS = HERE.parent / "build" / "fuzz"
INPUT_BYTES_MAX = 4096
CPU_MAX_S = 0.1
WARM_UP = 20_000
GROWTH_MAX_BYTES = 64 * 2**20
_LOOK_EVERY = 256
_PARTS_MAX = 4
_WORD_SHARE = 0.5
_WORD = re.compile(rb'^"(.*)"$', re.MULTILINE)
_ESCAPED = re.compile(rb"\\x([0-9a-fA-F]{2})|\\(.)")
_INTERESTING = (0, 1, 0x17, 0x18, 0x1F, 0x20, 0x3B, 0x5F, 0x7F, 0x80, 0x9F, 0xBF, 0xC2, 0xF6, 0xFB,
                0xFF)  # fmt: skip


class Watch:
    """Runs one input after another and holds each to its time, and all of them to their memory."""

    def __init__(self, name: str, target: Callable[[bytes], None]) -> None:
        self.name = name
        self.target = target
        self.runs = 0
        self.slowest_s = 0.0
        self.started = time.monotonic()
        self.warm_bytes = 0

    def __call__(self, data: bytes) -> None:
        """Run one input.

        Raises:
            Exception: it is a finding, and has been written down.
        """
        before = time.thread_time()
        try:
            self.target(data)
            took = time.thread_time() - before
            if took > CPU_MAX_S:
                # Once more: the first may have paid for the collector or a late import.
                before = time.thread_time()
                self.target(data)
                took = min(took, time.thread_time() - before)
            self.slowest_s = max(self.slowest_s, took)
            assert took <= CPU_MAX_S, f"it took {took * 1000:.0f} ms of CPU"
            self.runs += 1
            if self.runs == WARM_UP:
                self.warm_bytes = peak_bytes()
            if self.runs > WARM_UP and not self.runs % 10_000:
                assert self.growth() <= GROWTH_MAX_BYTES, f"it grew by {self.growth()} bytes"
        except BaseException:
            note(self.name, data)
            raise

    def growth(self) -> int:
        """How much the process has grown since it was warm."""
        return peak_bytes() - self.warm_bytes if self.warm_bytes else 0

    def report(self) -> str:
        """Figures, in one line."""
        took = time.monotonic() - self.started
        return (
            f"{self.name}: {self.runs} executions in {took:.0f} s ({self.runs / took:.0f}/s), "
            f"the slowest {self.slowest_s * 1000:.1f} ms of CPU, memory grew by "
            f"{self.growth() / 2**20:.1f} MiB"
        )


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def note(name: str, data: bytes) -> None:
    """Write a finding down and say how to see it again."""
    directory = FINDINGS / name
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / hashlib.sha256(data).hexdigest()[:16]
    file.write_bytes(data)
    sys.stderr.write(f"FOUND {file}: run it again with python fuzz/run.py {name} {file}\n")


def corpus_of(name: str) -> list[bytes]:
    """The kept inputs of a target, in a stable order."""
    files = sorted((CORPUS / name).iterdir())
    assert files, f"there is no corpus of {name}"
    return [file.read_bytes() for file in files]


def dictionary_of(name: str) -> Path | None:
    """A target's words, as libFuzzer has them: a word a line, quoted."""
    file = HERE / f"{name}.dict"
    return file if file.exists() else None


def words_of(name: str) -> list[bytes]:
    """The words of a target's dictionary."""
    file = dictionary_of(name)
    if file is None:
        return []

    def plain(escaped: re.Match[bytes]) -> bytes:
        return bytes.fromhex(escaped[1].decode()) if escaped[1] else escaped[2]

    return [_ESCAPED.sub(plain, word[1]) for word in _WORD.finditer(file.read_bytes())]


class Mutator:
    """Mutations of a corpus, with words put into them, the same for the same seed."""

    def __init__(self, corpus: list[bytes], seed: int, words: Sequence[bytes] = ()) -> None:
        self._corpus = corpus
        self._random = random.Random(seed)
        self._words = words

    def next(self) -> bytes:
        """One more input."""
        chance = self._random
        data = bytearray(chance.choice(self._corpus))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data) + 1)
            if self._words and chance.random() < _WORD_SHARE:
                self._put_word(data, at)
                continue
            match chance.randrange(8):
                case 0 if data:
                    data[at % len(data)] ^= 1 << chance.randrange(8)
                case 1:
                    data[at:at] = bytes([chance.choice(_INTERESTING)])
                case 2:
                    del data[at : at + chance.randint(1, 8)]
                case 3:
                    data[at : at + 1] = bytes([chance.choice(_INTERESTING)])
                case 4:
                    data[at:at] = chance.randbytes(chance.randint(1, 8))
                case 5:
                    other = chance.choice(self._corpus)
                    start = chance.randrange(len(other) + 1)
                    data[at : at + chance.randint(0, 16)] = other[start : start + 32]
                case 6:
                    size = chance.randint(1, 16)
                    data[at:at] = data[at : at + size] * chance.randint(1, _PARTS_MAX)
                case _:
                    size = chance.choice((1, 2, 4, 8))
                    data[at : at + size] = chance.choice((0, 1, 2 ** (8 * size) - 1)).to_bytes(size)
        return bytes(data[:INPUT_BYTES_MAX])

    def _put_word(self, data: bytearray, at: int) -> None:
        """Put a word at a place, in the place of something or not, or another input at the end."""
        chance = self._random
        match chance.randrange(4):
            case 0:
                data[at : at + chance.randint(1, 16)] = chance.choice(self._words)
            case 1:
                data += chance.choice(self._corpus)
            case _:
                data[at:at] = chance.choice(self._words)


def mutate(watch: Watch, runs: int, seconds: float, seed: int) -> None:
    """Without atheris: the corpus as it is, then mutations of it."""
    corpus = corpus_of(watch.name)
    mutator = Mutator(corpus, seed, words_of(watch.name))
    for data in corpus:
        watch(data)
    until = time.monotonic() + seconds
    while watch.runs < runs:
        watch(mutator.next())
        if not watch.runs % _LOOK_EVERY and time.monotonic() > until:
            return


def lead(watch: Watch, runs: int, seconds: float, seed: int) -> None:
    """With atheris, which ends the process itself."""
    import atheris  # noqa: PLC0415 - may be missing

    found = FINDINGS / f"{watch.name}.corpus"
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        *(sys.argv[0], str(found), str(CORPUS / watch.name), f"-max_len={INPUT_BYTES_MAX}"),
        *(
            f"-runs={runs}",
            f"-max_total_time={seconds:.0f}",
            f"-seed={seed}",
            "-print_final_stats=1",
        ),
        *(f"-artifact_prefix={FINDINGS}/", "-timeout=5", "-rss_limit_mb=1024", "-verbosity=0"),
    ]
    dictionary = dictionary_of(watch.name)
    if dictionary is not None:
        arguments.append(f"-dict={dictionary}")
    atheris.Setup(arguments, watch)
    atheris.Fuzz()


def main() -> int:
    """Run a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("file", type=Path, nargs="?", help="run this one input and no other")
    parser.add_argument("--runs", type=int, default=10**9)
    parser.add_argument("--seconds", type=float, default=1e8)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--plain", action="store_true", help="mutate, though atheris is there")
    given = parser.parse_args()
    is_led = not given.plain and not given.file and importlib.util.find_spec("atheris") is not None
    if is_led:
        import atheris  # noqa: PLC0415 - may be missing

        with atheris.instrument_imports(
            include=["sadik_machine", "sadik_members", "sadik_vnode", "sadik_node"]
        ):
            from targets import TARGETS  # noqa: PLC0415 - under instrumentation
    else:
        from targets import TARGETS  # noqa: PLC0415 - see above
    watch = Watch(given.target, TARGETS[given.target])
    if given.file:
        watch(given.file.read_bytes())
    elif is_led:
        lead(watch, given.runs, given.seconds, given.seed)
    else:
        print(f"{given.target}: seed {given.seed}", flush=True)
        try:
            mutate(watch, given.runs, given.seconds, given.seed)
        except Exception:
            traceback.print_exc()
            return 1
        finally:
            print(watch.report(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
