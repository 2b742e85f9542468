"""The status page in a real browser, against a real daemon."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright

from edc.simulator.tiingo import TiingoSimulator
from edc.supervisor import Supervisor
from tests import harness

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
HOSTILE = """<img src=x onerror="document.title='owned'">"""
TOKEN = "a-token-of-24-characters"

if CHROMIUM is None and os.environ.get("EDC_REQUIRE_BROWSER"):
    pytest.fail("EDC_REQUIRE_BROWSER is set, and there is no chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Seen:
    """What a page did that it must not: words on the console, errors, requests elsewhere."""

    def __init__(self, page: Page, port: int) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.accepted = re.compile("$^")
        """What the console may say: a connection that a test has cut, for example."""
        page.on("console", lambda said: self._said(said.text))
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda asked: self._asked(asked.url, port))

    def _said(self, text: str) -> None:
        if not self.accepted.search(text):
            self.wrong.append(text)

    def _asked(self, url: str, port: int) -> None:
        if not url.startswith((f"http://127.0.0.1:{port}/", "data:")):
            self.wrong.append(url)


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            await chromium.close()


@asynccontextmanager
async def shown(chromium: Browser, port: int, **options: Any) -> AsyncIterator[Seen]:
    """The page, once it has heard of the daemon; it must have done nothing wrong at the end."""
    page = await chromium.new_page(**options)
    seen = Seen(page, port)
    await page.goto(f"http://127.0.0.1:{port}/")
    await page.wait_for_function("document.querySelector('#link').textContent === 'live'")
    yield seen
    assert seen.wrong == []
    await page.close()


def daemon(folder: Path, url: str, port: int = 0, token: str = "") -> Supervisor:
    """A daemon with a page."""
    path = harness.write_config(folder, url)
    server = f'listen = "127.0.0.1:{port}"' + (f'\ntoken = "{token}"' if token else "")
    path.write_text(path.read_text().replace('listen = ""', server))
    return harness.supervisor(path)


async def port_of(supervisor: Supervisor) -> int:
    """Where it listens, as soon as it does."""
    await harness.until(lambda: supervisor.http is not None and supervisor.http.port)
    assert supervisor.http is not None
    return supervisor.http.port


async def until_text(page: Page, selector: str, pattern: str) -> str:
    """Wait until an element says something; what it says."""
    await page.wait_for_function(
        "([where, what]) => new RegExp(what).test(document.querySelector(where).textContent)",
        arg=[selector, pattern],
    )
    return await page.inner_text(selector)


async def rows_of(page: Page, table: str) -> list[list[str]]:
    """The cells of a table's body."""
    cells: list[list[str]] = await page.eval_on_selector_all(
        f"#{table} tbody tr", "all => all.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return cells


async def test_a_running_daemon_is_shown_live_and_again_after_a_restart(tmp_path: Path) -> None:
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, rate=200)) as simulator,
        browser() as chromium,
    ):
        first = daemon(tmp_path, simulator.url)
        async with harness.running(first):
            port = await port_of(first)
            async with shown(chromium, port) as seen:
                page = seen.page
                await until_text(page, "#health", "^ready$")
                await until_text(page, "#now-rate", "[1-9]")
                (feed,) = await rows_of(page, "feed-table")
                assert feed[0] == "crypto"
                assert feed[1] == "live"
                assert feed[8] == "tiingo_crypto"
                await first.flush()
                written = await until_text(page, "#now-rows", "[1-9]")
                await first.flush()
                await page.wait_for_function(
                    "before => document.querySelector('#now-rows').textContent !== before",
                    arg=written,
                )
                files = await rows_of(page, "file-table")
                assert all((tmp_path / "lake").joinpath(file[2]).exists() for file in files)
                stages = {row[0]: row for row in await rows_of(page, "stage-table")}
                assert re.fullmatch(r"[\d.,]+ (µs|ms|s)", stages["vendor to receipt"][3])
                assert re.fullmatch(r"[\d.,]+ (µs|ms|s)", stages["disk to lake"][3])

                seen.accepted = re.compile("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|RESET")
                first.stop()
                await until_text(page, "#link", "reconnecting")
                await harness.until(lambda: first.http is not None and first.http.closed)
                second = daemon(tmp_path, simulator.url, port)
                await asyncio.sleep(0.3)  # the instance's lock goes last
                async with harness.running(second):
                    await until_text(page, "#link", "^live$")
                    await until_text(page, "#gaps-say", "since midnight")
                    gaps = await rows_of(page, "gap-table")
                    assert [row[0:2] for row in gaps] == [["crypto", "stopped"]]
                    assert await page.locator("#gap-chart rect.open").count() == 1


async def test_what_vendors_and_files_are_called_stays_text(tmp_path: Path) -> None:
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, rate=100)) as simulator,
        browser() as chromium,
    ):
        hostile = daemon(tmp_path, simulator.url)
        stats = hostile.feeds[0].stats
        stats.feed = stats.source = HOSTILE
        stats.refused = {HOSTILE: "</script><script>document.title='owned'</script>"}
        lane = hostile.lanes["trade"].stats
        lane.problems["lake"] = HOSTILE
        async with harness.running(hostile):
            port = await port_of(hostile)
            async with shown(chromium, port) as seen:
                names = await rows_of(seen.page, "feed-table")
                assert names[0][0] == HOSTILE
                assert "document.title='owned'" in names[1][0]
                assert HOSTILE in await seen.page.inner_text("#why")
                assert await seen.page.title() == "✗ edc main"
                assert await seen.page.locator("img").count() == 0
                option = await seen.page.locator("#which-feed option").all_inner_texts()
                assert option == [HOSTILE]


FOCUS = """() => {
  const at = document.activeElement;
  const look = getComputedStyle(at);
  const name = at.id || at.getAttribute('aria-labelledby') || at.getAttribute('aria-label');
  return [name || at.tagName.toLowerCase(),
          look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) >= 2];
}"""
"""What has the focus, and whether that is seen."""


async def test_the_keyboard_reaches_everything_in_order(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=harness.KEY, rate=100)
    async with harness.serving(simulator), browser() as chromium:
        some = daemon(tmp_path, simulator.url)
        async with (
            harness.running(some),
            shown(chromium, await port_of(some)) as seen,
        ):
            page, walked = seen.page, []
            for _ in range(8):
                await page.keyboard.press("Tab")
                name, visible = await page.evaluate(FOCUS)
                walked.append(name)
                assert visible, name
            assert walked == [
                *("a", "feeds-title", "which-feed", "which-stage", "Latency by stage"),
                *("tables-title", "summary", "files-title"),
            ]
            await page.locator("#which-stage").focus()
            await page.keyboard.press("ArrowDown")
            await until_text(page, "#latency-says", "receipt to queue")
            await page.locator("summary").focus()
            await page.keyboard.press("Enter")
            assert await page.locator("#gap-table").is_visible()
            await page.locator("a.skip").focus()
            await page.keyboard.press("Enter")
            assert (await page.evaluate(FOCUS))[0] == "feeds"


async def test_dark_and_light_on_a_desk_and_on_a_phone(tmp_path: Path) -> None:
    simulator = TiingoSimulator(key=harness.KEY, rate=100)
    async with harness.serving(simulator), browser() as chromium:
        some = daemon(tmp_path, simulator.url)
        async with harness.running(some):
            port = await port_of(some)
            for scheme, width in product(("light", "dark"), (1280, 360)):
                options = {"viewport": {"width": width, "height": 780}, "color_scheme": scheme}
                async with shown(chromium, port, **options) as seen:
                    page = seen.page
                    wide = await page.evaluate("document.documentElement.scrollWidth")
                    ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                    poor = await page.evaluate(CONTRAST)
                assert wide <= width  # tables scroll, the page does not
                light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 3 * 128
                assert light == (scheme == "light")
                assert poor == []


CONTRAST = """() => {
  const parts = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (at) => {
    for (; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('td, th, p, h1, h2, dt, dd, summary, label, .state')]
    .filter((at) => at.innerText && at.innerText.trim() && at.offsetWidth > 1)
    .map((at) => {
      const [one, other] = [light(parts(getComputedStyle(at).color)), light(ground(at))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      return [at.innerText, ratio];
    }).filter(([, ratio]) => ratio < 4.5);
}"""
"""Texts whose contrast is less than WCAG asks for (AA)."""


async def test_with_a_token_the_page_asks_for_it_once(tmp_path: Path) -> None:
    async with (
        harness.serving(TiingoSimulator(key=harness.KEY, rate=100)) as simulator,
        browser() as chromium,
    ):
        some = daemon(tmp_path, simulator.url, token=TOKEN)
        async with harness.running(some):
            port = await port_of(some)
            page = await chromium.new_page()
            await page.goto(f"http://127.0.0.1:{port}/")
            await page.fill("#token", "a-wrong-token-altogether")
            await page.keyboard.press("Enter")
            await page.wait_for_url("**/login")
            await page.fill("#token", TOKEN)
            await page.click("button")
            await until_text(page, "#link", "^live$")
            assert await page.evaluate("document.cookie") == ""  # HttpOnly
            assert TOKEN not in await page.content()
            (cookie,) = await page.context.cookies()
            assert cookie["httpOnly"]
            assert cookie["sameSite"] == "Lax"
