"""The rules by which a history is judged."""

from sadik_sim.history import Write, judge

K = b"k"


def write(value: bytes | None, *saw: bytes, outcome: str = "acked") -> Write:
    return Write(K, value, saw, outcome)


def test_a_chain_of_writes_needs_only_its_last() -> None:
    writes = [write(b"1"), write(b"2", b"1"), write(b"3", b"2", b"1")]
    assert judge(writes, K, [b"3"]).is_clean


def test_an_acknowledged_write_that_nobody_saw_and_nobody_has_is_lost() -> None:
    writes = [write(b"1"), write(b"2", b"1"), write(b"3")]
    verdict = judge(writes, K, [b"3"])
    assert [lost.value for lost in verdict.lost] == [b"1", b"2"]


def test_unacknowledged_writes_may_be_seen_or_not() -> None:
    for outcome in ("indeterminate", "unanswered"):
        writes = [write(b"1"), write(b"2", b"1", outcome=outcome)]
        assert judge(writes, K, [b"1"]).is_clean
        assert judge(writes, K, [b"2"]).is_clean


def test_what_an_acknowledged_write_saw_may_not_come_back() -> None:
    writes = [write(b"1"), write(b"2", b"1")]
    assert judge(writes, K, [b"1", b"2"]).resurrected == [b"1"]


def test_a_delete_keeps_what_it_saw_away_and_lives_by_itself() -> None:
    writes = [write(b"1"), write(None, b"1")]
    assert judge(writes, K, []).is_clean
    assert judge(writes, K, [b"1"]).resurrected == [b"1"]


def test_a_refused_write_may_never_be_seen() -> None:
    writes = [write(b"1"), write(b"2", b"1", outcome="refused")]
    assert judge(writes, K, [b"1"]).is_clean
    assert judge(writes, K, [b"2"]).refused_but_seen == [b"2"]


def test_what_a_refused_write_saw_is_not_kept_alive_by_it() -> None:
    writes = [write(b"1"), write(b"2", b"1", outcome="refused")]
    assert [lost.value for lost in judge(writes, K, []).lost] == [b"1"]


def test_a_value_from_nowhere_is_told_and_other_keys_do_not_matter() -> None:
    writes = [write(b"1"), Write(b"other", b"9", (), "acked")]
    assert judge(writes, K, [b"1", b"9"]).never_written == [b"9"]
    assert judge(writes, b"other", [b"9"]).is_clean
