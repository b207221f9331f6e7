"""Events on standard error."""

from __future__ import annotations

import io
import json

from sadik_node.log import Log


def test_json_events_are_one_document_a_line() -> None:
    stream = io.StringIO()
    log = Log("n1", "json", stream, wall=lambda: 1_700_000_000.25)
    log.event("started", "hello\nworld", http="127.0.0.1:7070", boot=3)
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00", "node": "n1", "event": "started",
        "message": "hello\nworld", "http": "127.0.0.1:7070", "boot": 3,
    }  # fmt: skip


def test_console_events_are_one_line_whatever_is_in_them() -> None:
    stream = io.StringIO()
    log = Log("n1", "console", stream, wall=lambda: 1_700_000_000.25)
    log.event("started", "a sentence\nin two", why="two\nlines", boot=3)
    assert stream.getvalue() == (
        '22:13:20.250 n1 started why="two\\nlines" boot=3 - a sentence in two\n'
    )


def test_frequent_events_are_limited_and_counted() -> None:
    now = [1_700_000_000.0]
    stream = io.StringIO()
    log = Log("n1", "json", stream, wall=lambda: now[0])
    for _ in range(100):
        log.event("request_refused", status=400)
    log.event("started")
    now[0] += 1
    log.event("request_refused", status=400)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines].count("request_refused") == 21
    suppressed = [line for line in lines if line["event"] == "log_suppressed"]
    assert [(line["of"], line["events"]) for line in suppressed] == [("request_refused", 80)]
    assert any(line["event"] == "started" for line in lines), "rare events always pass"


def test_one_flood_does_not_drown_another_event() -> None:
    stream = io.StringIO()
    log = Log("n1", "json", stream, wall=lambda: 1_700_000_000.0)
    for _ in range(100):
        log.event("request_refused", status=400)
    log.event("link_down", peer="n2")
    assert json.loads(stream.getvalue().splitlines()[-1])["event"] == "link_down"


def test_nothing_that_was_said_from_outside_acts_on_a_terminal() -> None:
    stream = io.StringIO()
    Log("n1", "console", stream).event("request_touched", request="\x1b[2J", key="")
    assert "\x1b" not in stream.getvalue()


def test_a_closed_stream_harms_nobody() -> None:
    stream = io.StringIO()
    stream.close()
    Log("n1", "json", stream).event("started")
