"""The gate: whoever shuts it is alone."""

from __future__ import annotations

import threading

from sadik_storage.gate import ReadGate


def test_it_shuts_only_when_nobody_is_inside() -> None:
    gate = ReadGate()
    gate.enter()
    gate.enter()
    assert not gate.shut(0)
    gate.leave()
    assert not gate.shut(0)
    gate.leave()
    assert gate.shut(0)
    gate.reopen()
    gate.enter()
    gate.leave()


def test_who_shuts_is_alone_among_many_readers() -> None:
    gate = ReadGate()
    alone = [True]
    faults: list[str] = []

    def read() -> None:
        for _ in range(3_000):
            gate.enter()
            if not alone[0]:
                faults.append("a reader was inside a shut gate")
            gate.leave()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    while any(reader.is_alive() for reader in readers):
        if gate.shut(1):
            alone[0] = False
            alone[0] = True
            gate.reopen()
    for reader in readers:
        reader.join()
    assert faults == []
