"""The page in a real browser: no complaint, no request, no sideways scrolling, both schemes."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.report import ReportData, write_report
from harness.report.palette import GROUND

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic", "--hide-scrollbars"),
)
DARK = "--blink-settings=preferredColorScheme=0"

# A frame of a given width reports what its page measures; the page itself may run no script.
FRAME = """<!DOCTYPE html><link rel="icon" href="data:,"><title>waiting</title><body style="margin:0">
<iframe id="page" src="index.html" style="border:0;width:WIDTHpx;height:5000px"></iframe><script>
document.getElementById("page").onload = event => {
  const page = event.target.contentDocument.documentElement;
  const body = getComputedStyle(page.querySelector("body"));
  document.title = [page.scrollWidth, page.clientWidth, body.backgroundColor].join(";");
};</script>"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


class Site(SimpleHTTPRequestHandler):
    """Serves a folder and keeps what was asked for."""

    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@pytest.fixture(scope="module")
def site(
    make: Callable[..., ReportData],
    with_audit: Callable[[ReportData], ReportData],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, Path, list[str]]]:
    folder = tmp_path_factory.mktemp("site")
    cells = (("digits", "random:0.1", "cnn_small"), ("digits", "class:3", "cnn_small"))
    write_report(with_audit(make(cells=cells, failing=("gradient_ascent",))), folder / "index.html")
    for width in (380, 1600):
        (folder / f"frame{width}.html").write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    asked: list[str] = []
    handler = type("Handler", (Site,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder, asked
    server.shutdown()
    server.server_close()


def browse(url: str, profile: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--enable-logging=stderr", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1600])
def test_a_browser_shows_the_page(width: int, scheme: str, site: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    url, _, asked = site
    asked.clear()
    dark = [DARK] if scheme == "dark" else []
    picture = tmp_path / f"{scheme}-{width}.png"
    size = f"--window-size={max(500, width)},5000"
    shown = browse(
        f"{url}/frame{width}.html", tmp_path / "profile", "--dump-dom", f"--screenshot={picture}", size, *dark
    )
    assert "CONSOLE" not in shown.stderr, [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    assert sorted(asked) == sorted([f"/frame{width}.html", "/index.html"])
    found = re.search("<title>(.*?)</title>", shown.stdout)
    assert found is not None
    wide, room, ground = found.group(1).split(";")
    assert int(wide) == int(room) == width, "the page scrolls sideways"
    assert ground == rgb(getattr(GROUND, scheme))
    assert picture.stat().st_size > 30_000
