"""The page of a plan in a real browser without a network: it draws in light and dark, its policy lets its own script run, its
marks tell, and nothing is complained of on the console."""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from kcluster.pipeline import check_source
from kcluster.render.plan_html import Planned, plan_html
from kcluster.source import Source
from tests.support.compiled import tool

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent.parent
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--force-device-scale-factor=1",
    "--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"


def page_of(name: str, folder: Path) -> Path:
    path = ROOT / "specs" / f"{name}.kcluster"
    checked = check_source(Source(f"specs/{path.name}", path.read_text()), folder=path.parent)
    written = folder / f"{name}.html"
    written.write_text(plan_html([Planned(f"specs/{path.name}", checked.plan, checked.diagnostics)]), encoding="utf-8")
    return written


def browse(page: Path, *arguments: str) -> str:
    """Open a page with a profile of its own; what the document says on standard output. Fails on any line of the console."""
    profile = page.parent / f"profile-{len(list(page.parent.iterdir()))}"
    done = subprocess.run(
        [tool("chromium", "chromium"), *FLAGS, f"--user-data-dir={profile}", *arguments, page.as_uri()],
        capture_output=True, text=True, errors="replace", timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return done.stdout


def pixels(path: Path) -> tuple[int, int, list[bytes]]:
    """Width, bytes a pixel and the rows of a PNG of 8 bits a channel."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, packed, width, channels = 8, b"", 0, 3
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, _, depth, colour = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and colour in (2, 6)
            channels = 3 if colour == 2 else 4
        elif kind == b"IDAT":
            packed += body
        at += size + 12
    return width, channels, _unfiltered(zlib.decompress(packed), width * channels, channels)


def _unfiltered(raw: bytes, length: int, step: int) -> list[bytes]:
    rows: list[bytes] = []
    above = bytearray(length)
    for start in range(0, len(raw), length + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        for index in range(length if kind else 0):
            left = row[index - step] if index >= step else 0
            corner = above[index - step] if index >= step else 0
            guess = (left, above[index], (left + above[index]) // 2, _paeth(left, above[index], corner))[kind - 1]
            row[index] = (row[index] + guess) & 255
        rows.append(bytes(row))
        above = row
    return rows


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


@pytest.mark.parametrize(("scheme", "page_color"), [(LIGHT, (246, 247, 249)), (DARK, (16, 20, 24))])
def test_it_draws_in_light_and_dark(tmp_path: Path, scheme: str, page_color: tuple[int, int, int]) -> None:
    page, shot = page_of("recipe-b", tmp_path), tmp_path / "shot.png"
    browse(page, scheme, "--window-size=800,1300", f"--screenshot={shot}")
    width, step, rows = pixels(shot)
    assert width == 800 and len(rows) > 1000
    assert tuple(rows[2][:3]) == page_color
    colours = {row[at : at + 3] for row in rows[::3] for at in range(0, len(row), 3 * step)}
    assert len(colours) > 100  # text, marks, bars
    accent = {(11, 98, 214), (42, 111, 219)} if scheme == LIGHT else {(105, 168, 255), (90, 150, 242)}
    assert accent <= {tuple(colour) for colour in colours}  # the chosen mark and the bars of the weights


def test_the_script_of_the_page_runs_and_no_other(tmp_path: Path) -> None:
    page = page_of("recipe-a", tmp_path)
    seen = browse(page, "--dump-dom")
    assert 'id="tip"' in seen and 'role="status"' in seen
    # the script turned native titles of marks into labels, so that only one tip shows
    assert re.search(r'<g class="mark chosen"[^>]*aria-label="1 replica of tp 4: ', seen)
    foreign = page.read_text(encoding="utf-8").replace("</main>", "<script>document.title = 'taken'</script></main>")
    page.write_text(foreign, encoding="utf-8")
    with pytest.raises(AssertionError, match="Executing inline script violates"):
        browse(page, "--dump-dom")


def test_it_fits_a_narrow_window(tmp_path: Path) -> None:
    """Wide tables scroll inside their own boxes: the page itself is as wide as the window."""
    page = page_of("recipe-b", tmp_path)
    measured = page.read_text(encoding="utf-8")
    measured = re.sub(r"<meta http-equiv[^>]*>", "", measured).replace(
        "</body>", "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    )
    page.write_text(measured, encoding="utf-8")
    found = re.search(r"<title>(\d+) of (\d+)</title>", browse(page, "--window-size=560,900", "--dump-dom"))
    assert found and int(found[1]) <= int(found[2])
