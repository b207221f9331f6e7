"""The configurations of three zones fit each other, and the pages name what is there."""

import re
from pathlib import Path

from sadik_node.config import load_settings
from sadik_node.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def settings_of(zone: str) -> Settings:
    return load_settings(DEPLOY / "three-zones" / f"zone-{zone}.toml")


def test_one_cluster_each_node_with_a_zone_of_its_own() -> None:
    found = [settings_of(zone) for zone in "abc"]
    assert [each.node.zone for each in found] == ["zone-a", "zone-b", "zone-c"]
    assert len({each.node.name for each in found}) == 3
    assert {each.cluster.name for each in found} == {"shop"}
    addresses = {str(each.listen.advertise) for each in found}
    for each in found:
        joined = {str(seed) for seed in each.cluster.join}
        assert joined in (set(), addresses - {str(each.listen.advertise)})
        assert not each.listen.insecure
        assert each.tls.peer.cert is not None
        assert each.node.name in each.tls.peer.cert.name
    assert [len(each.cluster.join) for each in found] == [0, 2, 2], "one founds, the others join"


def test_every_page_says_how_to_upgrade_and_to_roll_back() -> None:
    for directory in ("systemd", "docker", "kubernetes", "three-zones"):
        text = (DEPLOY / directory / "README.md").read_text("utf-8")
        assert re.search(r"^## Upgrade", text, re.MULTILINE), directory
        assert re.search(r"^## .*[Rr]oll back", text, re.MULTILINE), directory


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in DEPLOY.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
