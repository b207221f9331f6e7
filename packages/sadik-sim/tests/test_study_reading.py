"""A study file says what is simulated, and every mistake in one is told with its place."""

from pathlib import Path

import pytest

from sadik_machine import MILLISECOND, SECOND
from sadik_sim.study import BadStudy, Phase, read_study, shipped_studies, study_from_text

SMALL = """
seconds = 30

[sites.left]
nodes = 2
share = 3

[sites.right]
nodes = 1

[[links]]
between = ["left", "right"]
delay = { shape = "fixed", ms = 10.5 }
back = { shape = "fixed", ms = 20 }

[workload]
per_second = 10

[[incidents]]
kind = "cut"
site = "right"
at_s = 10
for_s = 5

[[settings]]
r = [1, 2]
w = 1
strict = [true, false]
"""


def test_the_issues_five_studies_are_shipped() -> None:
    expected = ["one-site", "site-cut-off", "slow-disk", "three-continents", "three-sites"]
    assert shipped_studies() == expected
    for name in expected:
        study = read_study(name)
        assert study.name == name
        assert study.title
        assert study.about


def test_lists_stand_for_every_combination() -> None:
    labels = [setting.label for setting in study_from_text(SMALL, "small").settings]
    assert labels == [
        "N=3 R=1 W=1 strict", "N=3 R=1 W=1 sloppy", "N=3 R=2 W=1 strict", "N=3 R=2 W=1 sloppy",
    ]  # fmt: skip


def test_the_number_of_replicas_is_swept_like_the_rest() -> None:
    text = SMALL.replace("r = [1, 2]", "n = [1, 3]\nr = 1")
    assert [(s.n, s.strict) for s in study_from_text(text, "small").settings] == [
        (1, True), (1, False), (3, True), (3, False),
    ]  # fmt: skip


def test_a_link_may_be_slower_one_way() -> None:
    study = study_from_text(SMALL, "small")
    assert set(study.delay("left", "right")) == {10 * MILLISECOND + MILLISECOND // 2}
    assert set(study.delay("right", "left")) == {20 * MILLISECOND}


def test_sites_take_turns_among_the_nodes() -> None:
    assert study_from_text(SMALL, "small").node_sites == ("left", "right", "left")


def test_an_incident_cuts_the_run_into_phases() -> None:
    assert study_from_text(SMALL, "small").phases == (
        Phase("calm", 0, 10 * SECOND, is_calm=True),
        Phase("right cut off", 10 * SECOND, 15 * SECOND, is_calm=False),
        Phase("after 15 s", 15 * SECOND, 30 * SECOND, is_calm=False),
    )


def test_zipf_gives_the_key_of_rank_k_a_share_of_one_in_k() -> None:
    weights = study_from_text(SMALL, "small").workload.weights
    assert weights[0] / weights[9] == pytest.approx(10, rel=0.001)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("seconds = 30", "", "small: seconds is missing"),
        ("seconds = 30", "seconds = 30\ncolour = 1", "small: nobody knows colour"),
        ("seconds = 30", "seconds = 30\npartitions = 12", "a power of two, not 12"),
        ("nodes = 2", "nodes = 0", r"small.sites.left.nodes: a whole number, 1 to 64, not 0"),
        ("per_second = 10", "per_second = 10\nzipf = -1", "small.workload.zipf"),
        ('site = "right"', 'site = "middle"', "among left, right, not 'middle'"),
        ('"fixed", ms = 10.5', '"gauss", ms = 1', r"links\[0\].delay: shape: one of"),
        ('between = ["left", "right"]', 'between = ["left", "left"]', "two sites"),
        ("w = 1", "w = 4", r"small.settings\[0\]: R, W, PR and PW lie within N"),
        ("w = 1", "n = 5\nw = 1", "no N above the number of nodes"),
        ("strict = [true, false]", "strict = 1", "true or false"),
        ('kind = "cut"', 'kind = "flood"', "one of cut, crash, pause, slow_disk"),
        ('kind = "cut"', 'kind = "slow_disk"', "sync is missing"),
        ("seconds = 30", "seconds = ", "no TOML"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, why: str) -> None:
    with pytest.raises(BadStudy, match=why):
        study_from_text(SMALL.replace(old, new, 1), "small")


def test_sites_without_a_link_are_refused() -> None:
    text = SMALL[: SMALL.index("[[links]]")] + SMALL[SMALL.index("[workload]") :]
    with pytest.raises(BadStudy, match="nothing says how far left is from right"):
        study_from_text(text, "small")


def test_an_unknown_name_lists_those_that_there_are() -> None:
    with pytest.raises(BadStudy, match=r"neither a \.toml file nor one of one-site"):
        read_study("mars")


def test_the_file_in_the_documentation_is_a_study() -> None:
    documents = (parent / "docs" / "studies.md" for parent in Path(__file__).resolve().parents)
    text = next(path for path in documents if path.exists()).read_text(encoding="utf-8")
    study = study_from_text(text.split("```toml\n")[1].split("```")[0], "documented")
    assert len(study.settings) == 4
    assert study.workload.updates
