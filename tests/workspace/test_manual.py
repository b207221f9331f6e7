"""The manual holds all that it is made of; `make docs` builds it, and CI runs that."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import manual
import manual_reference
import pictures
from sadik_metrics import FAMILIES
from sadik_node.settings import rules_by_key

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("manual") / "source"
    manual.gather(target)
    return target


def test_pictures_are_what_their_script_draws() -> None:
    for name, text in pictures.pictures():
        assert (pictures.TARGET / name).read_text("utf-8") == text, "run `make pictures`"


def test_every_page_is_listed() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    listed = set(re.findall(r"^([a-z/-]+)$", index, re.MULTILINE))
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= listed


def test_every_link_between_pages_leads_somewhere(source: Path) -> None:
    for page in source.rglob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            assert (page.parent / target).is_file(), f"{page.relative_to(source)}: {target}"


def test_the_reference_leaves_nothing_out() -> None:
    pages = manual_reference.reference_pages()
    assert all(f"`{key}`" in pages["configuration"] for key in rules_by_key())
    assert all(f"`{family.name}`" in pages["metrics"] for family in FAMILIES)
    for verb in ("doctor", "top", "staleness", "bucket set", "certs issue"):
        assert f"## `sadik-node {verb}`" in pages["verbs"]
    assert "## `PUT /v1/kv/{bucket}/{key}`" in pages["api"]
    assert "| 504 |" in pages["errors"]
    assert "`SiblingsError`" in pages["errors"]


@pytest.mark.parametrize("page", ["extending.md"])
def test_the_examples_of_a_page_run(page: str) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"),
                        re.MULTILINE | re.DOTALL)  # fmt: skip
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-W", "error", "-c", block], check=True, timeout=60,
                       capture_output=True)  # fmt: skip
