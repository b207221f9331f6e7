"""The web console as people see it: in a real browser, on a real cluster, with a node killed."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, open_browser
from real_cluster import RealCluster, RealNode
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.open_cluster

RequireProgram = Callable[..., str]


@pytest.fixture(scope="module")
def browser(
    require_program: RequireProgram, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    chromium = require_program("chromium", package="chromium")
    driver = require_program("chromedriver", package="chromium-driver")
    with open_browser(chromium, driver, tmp_path_factory.mktemp("profile")) as opened:
        yield opened
        # Nothing was refused by the page's own policy, and no script failed.
        assert opened.complaints() == []


BANDS = "svg[role=slider] path[fill^=hsl]"


def bands_of(node: RealNode, only: str = "") -> int:
    """How many paths the picture of the ring has: one for each owner that a slot has anywhere."""
    owners = node.ask("GET", "/v1/ring").json()["owners"]
    bands = {(slot, name) for names in owners for slot, name in enumerate(names)}
    return len([name for _, name in bands if not only or name == only])


def put(node: RealNode, path: str, body: bytes) -> None:
    assert node.ask("PUT", path, body, {"Content-Type": "text/plain"}).status == 204


def make_siblings(cluster: RealCluster, bucket: str) -> None:
    one, other, _ = cluster.nodes
    changed = one.ask(
        "PUT", f"/v1/buckets/{bucket}", b'{"blind_writes": "sibling"}',
        {"Content-Type": "application/json"},
    )  # fmt: skip
    assert changed.status == 200
    put(one, f"/v1/kv/{bucket}/ada", b"milk")
    put(other, f"/v1/kv/{bucket}/ada", b"bread")


def test_the_ring_is_a_picture_that_the_keyboard_walks(
    browser: Browser, shared: RealCluster
) -> None:
    browser.go(shared.nodes[0].url)
    browser.reads("h1", "Sadik n1")
    browser.reads("#health", "ready")
    picture = browser.find("svg[role=slider]")
    browser.counts(BANDS, bands_of(shared.nodes[0]))
    assert browser.count(".not-up") == 0
    picture.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    browser.reads(".ring h2", "Partition 2")
    owners = shared.nodes[0].ask("GET", "/v1/ring").json()["owners"][2]
    for name in owners:
        browser.reads("#owners", name)


def drawn(browser: Browser) -> str:
    """What stands in the graph of a key's versions."""
    return browser.find("#history").get_attribute("textContent") or ""


def test_siblings_are_shown_and_resolved(browser: Browser, shared: RealCluster) -> None:
    make_siblings(shared, "console-carts")
    browser.go(f"{shared.nodes[2].url}#keys/console-carts/ada")
    browser.reads("#found", "2 versions were written")
    assert browser.count(".sibling") == 2
    assert browser.count("#history circle") == 3, "where both began, and both"
    versions = browser.driver.find_elements("css selector", "#history circle")[1:]
    assert len({each.get_attribute("cx") for each in versions}) == 1, "neither follows the other"
    assert len({each.get_attribute("cy") for each in versions}) == 2
    assert "nothing before" in drawn(browser)
    browser.fill("#found textarea", "milk, bread")
    browser.click_text("button", "Write this instead of all")
    browser.reads("#found", "Stored.")
    browser.until(lambda: "2 replaced" in drawn(browser), "both are history")
    for node in shared.nodes:
        got = node.ask("GET", "/v1/kv/console-carts/ada")
        assert (got.status, got.body) == (200, b"milk, bread")
        assert got.headers["content-type"] == "text/plain"


def test_one_of_the_siblings_can_be_kept(browser: Browser, shared: RealCluster) -> None:
    make_siblings(shared, "console-keep")
    browser.go(f"{shared.nodes[0].url}#keys/console-keep/ada")
    browser.reads("#found", "2 versions were written")
    kept = browser.find(".sibling pre").text
    browser.click_text("button", "Keep this one")
    browser.reads("#found", "Resolved")
    assert shared.nodes[1].ask("GET", "/v1/kv/console-keep/ada").body == kept.encode()


def test_a_key_is_found_written_and_deleted(browser: Browser, shared: RealCluster) -> None:
    put(shared.nodes[1], "/v1/kv/console-keys/a%20dir/%C3%A9t%C3%A9%3F", b"one")
    browser.go(f"{shared.nodes[0].url}#keys")
    browser.fill("#list input[name=bucket]", "console-keys")
    browser.fill("#list input[name=prefix]", "a d")
    browser.click("#list button")
    browser.reads("#listed", "a dir/été?")
    browser.click("#listed button")
    browser.reads("#where", "1. owner")
    browser.counts("#where .state.ok", 3)
    assert browser.find("#found textarea").get_property("value") == "one"
    browser.fill("#found textarea", "two")
    browser.click_text("button", "Replace it")
    browser.reads("#found", "Stored.")
    assert shared.nodes[2].ask("GET", "/v1/kv/console-keys/a%20dir/%C3%A9t%C3%A9%3F").body == b"two"
    browser.click_text("button", "Delete…")
    browser.reads("dialog", "Delete console-keys/a dir/été??")
    browser.click("dialog button.danger")
    browser.reads("#found", "There is no value.")
    assert shared.nodes[2].ask("GET", "/v1/kv/console-keys/a%20dir/%C3%A9t%C3%A9%3F").status == 404


def test_rates_move_with_what_the_node_does(browser: Browser, shared: RealCluster) -> None:
    node = shared.nodes[0]
    put(node, "/v1/kv/console-rates/k", b"v")
    browser.go(f"{node.url}#activity")

    def is_moving() -> bool:
        node.ask("GET", "/v1/kv/console-rates/k")
        text = browser.find("#gets").text
        return text.endswith("/s") and float(text.split()[0]) > 0

    browser.until(is_moving, "the rate of gets")
    browser.counts(".chart canvas", 4)

    def is_measured() -> bool:
        # The coordinator measures, and of so many keys this node coordinates some.
        for number in range(12):
            put(node, f"/v1/kv/console-rates/{number}", b"v")
        text = browser.find("#stale").text
        return text.endswith("ms") and float(text.split()[0]) > 0

    browser.until(is_measured, "how long the last replica took")


NOTE_WHETHER_MODAL = """
window.modal = [];
new MutationObserver(() => {
  for (const dialog of document.querySelectorAll("dialog"))
    window.modal.push(dialog.matches(":modal"));
}).observe(document.body, { childList: true, subtree: true });
"""


def test_an_operator_needs_no_mouse(browser: Browser, shared: RealCluster) -> None:
    browser.go(shared.nodes[0].url)
    browser.reads("#health", "ready")

    def focused() -> str:
        script = "const e = document.activeElement; return `${e.tagName} ${e.textContent.trim()}`;"
        return str(browser.driver.execute_script(script))

    def press(*keys: str) -> None:
        ActionChains(browser.driver).send_keys(*keys).perform()

    def go_on_to(wanted: str) -> None:
        passed = []
        while not focused().startswith(wanted):
            passed.append(focused())
            assert len(passed) < 30, passed
            press(Keys.TAB)

    for tab, reads in (
        ("Members", "Up, suspect and down"),
        ("Repair", "Transfers"),
        ("Keys", "Bucket"),
    ):
        go_on_to(f"A {tab}")
        press(Keys.ENTER)
        browser.reads("main", reads)
    go_on_to("A Ring")
    press(Keys.ENTER)
    go_on_to("svg")
    press(Keys.ARROW_LEFT)
    browser.reads(".ring h2", "Partition 255")
    press(Keys.HOME)
    browser.reads(".ring h2", "Partition 0")

    go_on_to("A Members")
    press(Keys.ENTER)
    browser.reads("#members", "n3")
    go_on_to("BUTTON Leave")
    browser.driver.execute_script(NOTE_WHETHER_MODAL)
    press(Keys.ENTER)
    browser.reads("#plan", "replicas of partitions move")
    modal = browser.driver.execute_script("return window.modal")
    assert modal, "the dialog has come"
    assert all(modal), "no key goes to the page below it, from when it is there"
    go_on_to("BUTTON Cancel")
    press(Keys.ESCAPE)
    browser.counts("dialog", 0)
    assert focused().startswith("BUTTON Leave"), "one is where one was"


def test_replicas_are_compared_after_a_question(browser: Browser, shared: RealCluster) -> None:
    browser.go(f"{shared.nodes[0].url}#repair")
    browser.click("#repair")
    browser.reads("dialog", "Compare all replicas now?")
    browser.reads("#plan", "256 partitions, each among 3 of 3 owners.")
    browser.click_text("button", "Cancel")
    browser.counts("dialog", 0)
    browser.click("#repair")
    browser.click("dialog button.main")
    browser.reads("main", "256 of 256 partitions compared")


def test_a_killed_node_is_hatched_and_its_hints_drain(
    browser: Browser, cluster: RealCluster
) -> None:
    one, _, dead = cluster.nodes
    browser.go(one.url)
    browser.reads("#health", "ready")
    dead.kill()
    browser.counts("svg .not-up", bands_of(one, "n3"))
    for number in range(20):
        put(one, f"/v1/kv/console-hints/{number}", b"v")
    browser.click_text("a", "Members")
    browser.reads("#members .state.down", "down")
    browser.click_text("a", "Repair")
    browser.reads("#hints", "n3")
    dead.start()
    browser.reads("#no-hints", "None")
    browser.click_text("a", "Ring")
    browser.counts(BANDS, bands_of(one))
    browser.counts("svg .not-up", 0)
    an_operator_lets_a_node_leave(browser, dead)
    assert browser.complaints() == []


def an_operator_lets_a_node_leave(browser: Browser, node: RealNode) -> None:
    """From the page of another: the plan is shown first, and nothing is done if it is declined."""
    browser.click_text("a", "Members")
    row = f"//tr[td/b[normalize-space()='{node.name}']]//button[starts-with(., 'Leave')]"
    browser.click_path(row)
    browser.reads("dialog", f"Let {node.name} leave?")
    browser.reads("#plan", "replicas of partitions move")
    browser.click_text("button", "Cancel")
    browser.counts("dialog", 0)
    assert node.is_ready()
    browser.click_path(row)
    browser.click("dialog button.danger")
    browser.reads("main", f"It was asked for: {node.name} leaves.")
    assert node.process is not None
    assert node.process.wait(60) == 0
    browser.reads("#members", "left")


@pytest.mark.parametrize("tab", ["ring", "members", "activity", "repair", "keys/console-carts/ada"])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_at_400_pixels(
    require_program: RequireProgram, tmp_path: Path, shared: RealCluster, tab: str, dark: bool
) -> None:
    chromium = require_program("chromium", package="chromium")
    driver = require_program("chromedriver", package="chromium-driver")
    with open_browser(chromium, driver, tmp_path, size=(400, 800), dark=dark) as narrow:
        narrow.go(f"{shared.nodes[0].url}#{tab}")
        narrow.reads("#health", "ready")
        narrow.find("main h2")
        wide = narrow.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 400, "the page itself does not scroll sideways"
        if tab == "members":
            # What an operator may do is in sight, too, and not beyond the edge of its table.
            buttons = narrow.driver.find_elements("css selector", "#members button")
            assert len(buttons) == len(shared.nodes)
            assert all(each.rect["x"] + each.rect["width"] <= 400 for each in buttons)
        page = narrow.driver.execute_script(
            "return getComputedStyle(document.body).backgroundColor"
        )
        assert page == ("rgb(20, 25, 23)" if dark else "rgb(251, 251, 249)")


def test_files_are_the_nodes_own_and_are_not_sent_twice(shared: RealCluster) -> None:
    node = shared.nodes[0]
    page = node.ask("GET", "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert b"http://" not in page.body
    assert b"https://" not in page.body
    again = node.ask("GET", "/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert node.ask("GET", "/console/app.js").headers["content-type"].startswith("text/javascript")
    for path in ("/console/", "/console/../views.py", "/console/nothing.js"):
        connection = http.client.HTTPConnection("127.0.0.1", node.http_port, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().status == 404
        connection.close()


def test_transfers_are_summed_over_all_looks(browser: Browser, shared: RealCluster) -> None:
    def row(partition: int, done: int, total: int) -> dict[str, object]:
        return {"partition": partition, "to": "n4", "bytes_done": done, "bytes_total": total}

    mebibyte = 1 << 20
    looks = [
        (0, [row(1, 0, 10 * mebibyte), row(2, 0, 0)]),
        (2000, [row(1, 4 * mebibyte, 10 * mebibyte), row(2, 0, 30 * mebibyte)]),
        (4000, [row(2, 10 * mebibyte, 30 * mebibyte)]),
        (6000, []),
        (9000, [row(7, 0, 0)]),
    ]
    browser.go(shared.nodes[0].url)
    browser.reads("h1", "Sadik n1")
    told = browser.driver.execute_async_script(
        "const [looks, done] = arguments;"
        "import('/console/movement.js').then(({ fresh, look }) => {"
        "  const counted = fresh();"
        "  done(looks.map(([now, transfers]) => look(counted, now, transfers).text));"
        "});",
        looks,
    )
    assert told == [
        "0 of 2 replicas moved, 0 B of 10.0 MiB (0%)",
        "0 of 2 replicas moved, 4.0 MiB of 40.0 MiB (10%), 2.0 MiB/s, about 18 s left",
        "1 of 2 replicas moved, 20.0 MiB of 40.0 MiB (50%), 5.0 MiB/s, about 4 s left",
        "0 of 0 replicas moved",
        "0 of 1 replicas moved",
    ]
