"""The page in a real browser: it trains, never freezes, and asks nobody else."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.live import Site, runtime, site, trainer

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A person sees a stop of about that length; this machine may be busy with other work.
LONGEST = 0.5
# Keep the longest gap between two frames of the page, in seconds.
METER = """
window.longest = 0;
let before = null;
requestAnimationFrame(function tick(now) {
  if (before !== null) window.longest = Math.max(window.longest, (now - before) / 1000);
  before = now;
  requestAnimationFrame(tick);
});
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_: Any) -> None:
        """Write nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine alone, as `python -m http.server` does."""
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Return a browser."""
    site()
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="skipped: the browser: no playwright"
    )
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("skipped: the browser: chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Reader:
    """Somebody with the page open, and all that the browser asked for."""

    def __init__(self, page: Any, address: str, found: Site) -> None:
        self.page, self.address = page, address
        self.place = found.page.relative_to(found.folder).as_posix()
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.context.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.context.on("response", self.hear)
        page.set_default_timeout(120_000)

    def hear(self, response: Any) -> None:
        # A browser asks for an icon by itself; a page alone has none.
        if response.status >= 400 and not response.url.endswith("/favicon.ico"):
            self.errors.append(f"{response.status} {response.url}")

    def open(self) -> None:
        self.page.add_init_script(METER)
        self.page.goto(self.address + self.place)
        self.page.wait_for_function("document.getElementById('live').dataset.state")

    def text(self, name: str) -> str:
        return str(self.page.locator(f"#live-{name}").inner_text())

    @property
    def epoch(self) -> int:
        return int(self.number("epoch"))

    @property
    def state(self) -> str:
        return str(self.page.locator("#live").get_attribute("data-state"))

    def wait(self, state: str) -> None:
        self.page.wait_for_selector(f"#live[data-state='{state}']")

    def wait_epochs(self, epochs: int) -> None:
        self.page.wait_for_function(
            "n => Number(document.getElementById('live-epoch').dataset.value) >= n",
            arg=epochs,
        )

    def number(self, name: str) -> float:
        return float(self.page.locator(f"#live-{name}").get_attribute("data-value"))

    def set(self, name: str, value: Any) -> None:
        self.page.locator(f"#live-{name}").evaluate(
            "(slider, value) => { slider.value = value;"
            " slider.dispatchEvent(new Event('input', {bubbles: true})); }",
            value,
        )

    def choose(self, problem: str) -> None:
        self.page.locator(f"input[name=problem][value={problem}]").check(force=True)

    def picture(self, name: str) -> None:
        folder = os.environ.get("CHAINRULE_PICTURES")
        if folder:
            self.page.screenshot(path=f"{folder}/{name}.png", full_page=True)

    def theme(self, name: str) -> None:
        self.page.evaluate(
            "name => { document.documentElement.dataset.theme = name; }", name
        )
        self.page.wait_for_timeout(300)


@pytest.fixture
def reader(chromium: Any) -> Iterator[Reader]:
    """Return a reader of the built page."""
    found = runtime()
    with served(found.folder) as address:
        context = chromium.new_context(viewport={"width": 1280, "height": 1050})
        each = Reader(context.new_page(), address, found)
        yield each
        context.close()
    assert each.errors == []


def test_it_trains_and_never_freezes(reader: Reader) -> None:
    reader.open()
    assert "MB from this site" in reader.text("status")
    assert not any(url.endswith(".wasm") for url in reader.asked)  # not before Train
    reader.page.get_by_role("button", name="Train").click()
    reader.wait("training")
    reader.wait_epochs(5)
    early = reader.number("last"), reader.number("worst")
    reader.wait_epochs(200)
    reader.picture("parabola-training")
    reader.wait("done")
    assert reader.text("epoch") == "1000 of 1000"
    assert reader.number("last") < 0.01 * early[0]
    assert reader.number("worst") < 0.05 < early[1]
    assert reader.number("worst-slope") < 1.0
    longest = reader.page.evaluate("window.longest")
    print(f"longest gap between two frames: {longest * 1000:.0f} ms")
    assert longest < LONGEST
    reader.picture("parabola-light")
    reader.theme("dark")
    reader.picture("parabola-dark")
    hosts = {urlsplit(url).netloc for url in reader.asked}
    assert hosts <= {urlsplit(reader.address).netloc, ""}
    assert any(url.endswith("pyodide.asm.wasm") for url in reader.asked)


def test_the_meter_sees_a_page_that_freezes(reader: Reader) -> None:
    reader.open()
    reader.page.evaluate(
        "() => { const end = performance.now() + 900;"
        " while (performance.now() < end); }"
    )
    reader.page.wait_for_timeout(300)
    assert reader.page.evaluate("window.longest") > LONGEST


def test_the_sphere_trains(reader: Reader) -> None:
    reader.open()
    reader.choose("sphere")
    assert reader.page.locator("#live-units").input_value() == "48"
    assert reader.page.locator("#live-activation").input_value() == "gelu_tanh"
    reader.page.get_by_role("button", name="Train").click()
    reader.wait_epochs(2)
    early = reader.number("worst")
    reader.picture("sphere-early")
    reader.wait_epochs(40)
    assert reader.number("worst") < 0.5 * early
    assert reader.page.evaluate("window.longest") < LONGEST
    reader.picture("sphere-light")
    reader.theme("dark")
    reader.picture("sphere-dark")


def test_pause_reset_and_settings(reader: Reader) -> None:
    reader.open()
    reader.page.get_by_role("button", name="Train").click()
    reader.wait_epochs(10)
    reader.page.get_by_role("button", name="Pause").click()
    reader.page.wait_for_timeout(400)  # the slice under way ends
    stood = reader.epoch
    reader.page.wait_for_timeout(400)
    assert reader.epoch == stood
    reader.page.get_by_role("button", name="Go on").click()
    reader.wait_epochs(stood + 5)

    # A setting that changes begins the training anew.
    reader.set("units", 6)
    reader.page.wait_for_function(
        "document.getElementById('live-parameters').textContent === '61'"
    )
    assert reader.state == "training"

    reader.page.get_by_role("button", name="Reset").click()
    reader.page.wait_for_function(
        "document.getElementById('live-epoch').textContent === '0 of 1000'"
    )
    assert reader.state == "paused"
    # The first weights are those of this machine's NumPy.
    run = trainer().Run("parabola", 6, "tanh", 0.01, 0)
    assert reader.number("worst") == pytest.approx(run.frame()["worst"], rel=1e-5)

    # A setting that changes while it stands still leaves it standing.
    reader.set("seed", 4)
    reader.page.get_by_role("button", name="Go on").click()
    reader.wait_epochs(3)


def test_a_pause_while_python_is_loaded(reader: Reader) -> None:
    reader.open()
    reader.page.get_by_role("button", name="Train").click()
    reader.page.get_by_role("button", name="Pause").click()
    reader.page.get_by_role("button", name="Go on").click()
    reader.page.get_by_role("button", name="Pause").click()
    reader.page.wait_for_function(
        "document.getElementById('live-epoch').textContent === '0 of 1000'"
    )
    reader.page.wait_for_timeout(500)
    assert reader.epoch == 0
    reader.page.get_by_role("button", name="Go on").click()
    reader.wait_epochs(2)


def test_the_keyboard_is_enough(reader: Reader) -> None:
    reader.open()
    reader.page.locator("input[name=problem]:checked").focus()
    seen = []
    for _ in range(7):
        seen.append(reader.page.evaluate("document.activeElement.id || 'problem'"))
        reader.page.keyboard.press("Tab")
    wanted = ["problem", *(f"live-{n}" for n in ("go", "reset", "units"))]
    assert seen[:4] == wanted
    assert seen[4:7] == ["live-activation", "live-rate", "live-seed"]
    reader.page.locator("#live-units").focus()
    reader.page.keyboard.press("ArrowRight")
    assert reader.text("units-value") == "34"
    reader.page.locator("#live-go").focus()
    reader.page.keyboard.press("Enter")
    reader.wait_epochs(1)
    # Each control and picture has a name for those who do not see it.
    for control in reader.page.locator(
        "#live :is(input, select, button, canvas)"
    ).all():
        name = control.evaluate(
            "e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent"
        )
        assert name.strip()


def test_it_fits_a_telephone(reader: Reader) -> None:
    reader.page.set_viewport_size({"width": 390, "height": 844})
    reader.open()
    wide = reader.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    reader.picture("narrow")


def test_a_site_without_a_runtime_says_so(chromium: Any, tmp_path: Path) -> None:
    found = site()
    copy = tmp_path / "site"
    shutil.copytree(
        found.folder, copy, ignore=shutil.ignore_patterns("*.whl", "*.wasm")
    )
    (copy / "_static" / "live" / "manifest.json").write_text(
        json.dumps({"pyodide": None})
    )
    with served(copy) as address:
        page = chromium.new_page()
        reader = Reader(page, address, found)
        reader.open()
        reader.wait("absent")
        note = page.get_by_role("alert")
        assert "no runtime for NumPy" in note.inner_text()
        assert page.get_by_role("button", name="Train").is_disabled()
        reader.picture("absent")
        page.close()
    assert reader.errors == []


def test_a_file_that_is_missing_is_named(chromium: Any, tmp_path: Path) -> None:
    found = runtime()
    copy = tmp_path / "site"
    shutil.copytree(found.folder, copy, ignore=shutil.ignore_patterns("tqdm*.whl"))
    (wheel,) = found.live.glob("tqdm*.whl")
    with served(copy) as address:
        page = chromium.new_page()
        reader = Reader(page, address, found)
        reader.open()
        page.get_by_role("button", name="Train").click()
        reader.wait("failed")
        assert f"{wheel.name} cannot be loaded (404)" in reader.text("status")
        # With the file in its place, another try works.
        shutil.copy(wheel, copy / "_static" / "live" / wheel.name)
        page.get_by_role("button", name="Train").click()
        reader.wait_epochs(1)
        page.close()


def test_a_page_opened_as_a_file_says_what_to_do(chromium: Any) -> None:
    page = chromium.new_page()
    page.goto(site().page.resolve().as_uri())
    note = page.get_by_role("alert")
    assert "python -m http.server" in note.inner_text()
    page.close()
