"""The operator's page in a real browser."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.overview import ClientFigures, Overview
from holdfast.service.overview.hour import Sample
from holdfast.service.web.history import HOUR, History
from holdfast.service.web.page import MOST, Hour, Page, rendered
from tests.web.browser import CHROMIUM, Tab, browser
from tests.web.fleets import HOSTILE, fleet, fleets_hour, frontend, hour
from tests.web.stage import Opened, opened

CONTRAST = """
(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => { const [r, g, b] = parts(text).map((one) => {
    const share = one / 255;
    return share <= .04045 ? share / 12.92 : ((share + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const behind = (one) => { for (; one; one = one.parentElement) {
    const found = parts(getComputedStyle(one).backgroundColor);
    if (found.length === 3 || found[3] > 0) return getComputedStyle(one).backgroundColor; }
    return "rgb(255, 255, 255)"; };
  const shown = [...document.body.querySelectorAll("*")].filter((one) =>
    [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  return Math.min(...shown.filter((one) => one.tagName !== "SCRIPT").map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => x - y);
    return (b + .05) / (a + .05); }));
})()
"""
"""The least contrast of a text with what is behind it."""


@dataclass
class Fleet:
    """What the page is about; a test may change it."""

    overview: Overview
    samples: Sequence[Sample] = ()

    async def current(self) -> Overview:
        """The overview."""
        return self.overview

    async def hour(self) -> Sequence[Sample]:
        """The fleet's last hour."""
        return self.samples


OWN = Hour(fleet().by, hour().samples)
"""The hour of one frontend."""


@asynccontextmanager
async def shown(about: Fleet) -> AsyncIterator[Opened]:
    """A port with a page."""
    history = hour()
    async with opened(page=lambda loop: Page(loop, about.current, history, about.hour)) as port:
        yield port


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser for all tests, one after the other."""
    if not CHROMIUM:
        pytest.skip("needs Debian's package chromium")
    with browser(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


async def seen(about: Fleet, look: Callable[[str], Any]) -> Any:
    """Has a browser look at the page; the port answers meanwhile."""
    async with shown(about) as port:
        return await asyncio.to_thread(look, f"http://127.0.0.1:{port.port.port}/")


async def test_nothing_but_our_own_runs(tab: Tab) -> None:
    """The page asks nobody else, its policy forbids nothing that it needs, and names are text."""

    def look(url: str) -> None:
        tab.open(url)
        assert tab.value("document.getElementById('pause').hidden") is False  # the script ran
        assert tab.value("getComputedStyle(document.querySelector('dl')).display") == "grid"
        assert tab.value("window.found") == {"violations": [], "alerts": []}
        assert set(tab.requested()) == {url}
        text = tab.value("document.querySelector('main').innerText")
        assert "<script>alert(1)</script>\\u001b[31m\\u202egnp.\"'&" in text
        # What somebody would get into the page all the same wouldn't run.
        tab.value(
            "(() => { const one = document.createElement('script'); one.textContent = 'alert(1)';"
            " document.body.append(one); })()"
        )
        found = tab.value("window.found")
        assert (len(found["violations"]), found["alerts"]) == (1, [])

    await seen(Fleet(fleet()), look)


async def test_it_stays_fresh(tab: Tab) -> None:
    """The figures change by themselves, and the reader stays where it was; a pause stops them."""
    about = Fleet(fleet(2))

    def look(url: str) -> None:
        tab.size(400)
        tab.open(url)
        assert "2 frontends" in tab.value("document.getElementById('now').innerText")
        table = "document.querySelector('.scroll[aria-label=Frontends]')"
        tab.value(f"{table}.focus(); {table}.scrollLeft = 40; window.scrollTo(0, 300)")
        about.overview = fleet(3)
        tab.until("document.getElementById('now').innerText.startsWith('3 frontends')")
        assert tab.value(f"{table} === document.activeElement") is True
        assert tab.value(f"{table}.scrollLeft") == 40
        assert tab.value("window.scrollY") == 300
        assert tab.value("window.found.violations") == []

    await seen(about, look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_can_be_read(tab: Tab, tmp_path: Path, scheme: str) -> None:
    """In both schemes and at 400 pixels, nothing is cut off, and texts have enough contrast."""

    def look(url: str) -> None:
        tab.scheme(scheme)
        tab.open(url)
        for width in (400, 1280):
            tab.size(width)
            assert tab.value("document.documentElement.scrollWidth") == width
            tab.picture(tmp_path / f"{scheme}-{width}.png")
        dark = tab.value("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")
        assert tab.value(CONTRAST) >= 4.5

    await seen(Fleet(fleet()), look)


async def test_without_a_mouse_or_eyes(tab: Tab) -> None:
    """All can be reached by keys, and each thing has a name for those who don't see it."""

    def look(url: str) -> None:
        tab.open(url)
        reached = []
        for _ in range(12):
            tab.press("Tab")
            reached.append(
                tab.value(
                    "document.activeElement.getAttribute('aria-label') || "
                    "document.activeElement.innerText"
                )
            )
        assert reached[:3] == ["Skip to the figures", "Pause", "Debug pages"]
        names = {"Frontends", "Backends", "Ingests", "Flights", "Tenants", "Clients", "Errors"}
        names.add("Problems")
        assert names <= set(reached)
        tab.value("document.getElementById('pause').focus()")
        tab.press("Enter")
        assert tab.value("document.getElementById('pause').getAttribute('aria-pressed')") == "true"
        tree = tab.call("Accessibility.getFullAXTree")["nodes"]
        roles: dict[str, list[str]] = {}
        for node in tree:
            name = node.get("name", {}).get("value", "")
            roles.setdefault(node.get("role", {}).get("value", ""), []).append(name)
        for role in ("progressbar", "image", "region", "button", "link"):
            assert all(roles.get(role, [""])), (role, roles.get(role))
        assert "Read: 57.5 MiB/s now, 355.0 MiB/s at most" in roles["image"]

    await seen(Fleet(fleet()), look)


async def test_a_fleet_without_redis() -> None:
    """What a frontend knows alone is said to be just that."""
    alone = replace(fleet(1), complete=False, flights=())
    async with shown(Fleet(alone)) as port:
        found = await port.get("/")
    assert "this is what one frontend knows alone" in found.body
    assert "1 frontend, 0 draining" in found.body


async def test_a_large_fleet_stays_readable() -> None:
    """Of a fleet of 500 frontends, the first hundred rows of each table are shown, and how many."""
    body = rendered(fleet(500), OWN, "nonce")
    assert body.count(f'<th scope="row">{frontend(0).name[:12]}') <= MOST
    assert "400 more not shown." in body
    assert len(body) < 2**19


def test_whose_hour_it_is() -> None:
    """If the curves are one frontend's alone, they name it, and say that all others have theirs."""
    body = rendered(replace(fleet(3), by="frontend-2"), replace(OWN, of="frontend-2"), "nonce")
    assert ">The last hour of frontend-2</h2>" in body
    assert "Other frontends show theirs" in body
    assert "Other frontends show theirs" not in rendered(fleet(1), OWN, "nonce")
    whole = rendered(fleet(3), Hour("", fleets_hour()), "nonce")
    assert ">The last hour of the fleet</h2>" in whole
    assert "Other frontends show theirs" not in whole


async def test_the_fleets_hour_is_shown_while_it_is_known() -> None:
    """The curves are the fleet's, or the frontend's own while those can't be read."""
    about = Fleet(fleet(), fleets_hour())
    async with shown(about) as port:
        found = await port.get("/")
        assert ">The last hour of the fleet</h2>" in found.body
        assert 'aria-label="Frontends: 3 now, 3 at most"' in found.body
        assert 'aria-label="Store: 20.0 ms now, 20.0 ms at most"' in found.body
        assert 'aria-label="Found in memory: 75 % now, 75 % at most"' in found.body
        about.samples = ()
        assert f">The last hour of {fleet().by}</h2>" in (await port.get("/figures")).body
        about.samples, about.overview = fleets_hour(), replace(fleet(), complete=False)
        assert f">The last hour of {fleet().by}</h2>" in (await port.get("/figures")).body


def test_a_fleet_in_mid_upgrade() -> None:
    """Agents are counted, and while frontends differ, the page says in what."""
    assert "Several of" not in (same := rendered(fleet(), OWN, "nonce"))
    assert "<dt>Agents</dt><dd>291</dd>" in same
    assert "<dt>Other clients</dt><dd>15</dd>" in same
    mixed = replace(
        fleet(), frontends=(*fleet(2).frontends, frontend(2, version="0.2.0", protocol=2))
    )
    body = rendered(mixed, OWN, "nonce")
    assert "<p>Several of version: 0.2.0 (1 frontend), 0.1.0 (2 frontends)</p>" in body
    assert "<p>Several of protocol: 2 (1 frontend), 1 (2 frontends)</p>" in body


def test_a_time_of_which_nothing_is_known() -> None:
    """While no frontend has reached Redis, the curves have a hole, as wide as it took."""
    away = range(HOUR // 4, HOUR // 2)
    body = rendered(fleet(), Hour("", fleets_hour(away=away)), "nonce")
    [picture] = re.findall(r'aria-label="Read:[^>]*>(.*?)</svg>', body)
    lines = re.findall(r'<polyline points="([^"]*)"', picture)
    ends = [[float(point.split(",")[0]) for point in line.split()] for line in lines]
    assert [(min(line), max(line)) for line in ends] == [
        (0.0, pytest.approx(60, abs=1)),
        (pytest.approx(120, abs=1), 240.0),
    ]
    whole = rendered(fleet(), Hour("", fleets_hour()), "nonce")
    [picture] = re.findall(r'aria-label="Read:[^>]*>(.*?)</svg>', whole)
    assert picture.count("<polyline") == 1


async def test_hostile_names_are_text() -> None:
    """No name that a client chooses is anything but text, wherever it stands."""
    client = ClientFigures(HOSTILE, 1)
    hostile = frontend(0, name=HOSTILE, version=HOSTILE, clients=(client,))
    other = frontend(1)
    body = rendered(
        replace(fleet(1), by=HOSTILE, frontends=(hostile, other)), replace(OWN, of=HOSTILE), "nonce"
    )
    assert "<script>alert" not in body
    assert "\x1b" not in body
    assert "\u202e" not in body
    assert body.count("<script") == 1


def test_an_hour_is_kept() -> None:
    """Samples of an hour are kept, each once, the oldest first."""
    samples = hour().samples
    assert len(samples) == HOUR
    assert [one.at for one in samples] == sorted({one.at for one in samples})
    same = frontend(0)
    history = History(lambda: same)
    history.note()
    history.note()
    assert len(history.samples) == 1
