"""The README's pictures: small, closed, readable on either ground, and what the demo shows."""

from __future__ import annotations

import importlib.util
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
SVG = (PICTURES / "demo.svg").read_text(encoding="utf-8")
NAMESPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def cast():
    """The script, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("cast", PICTURES / "cast.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["cast"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["cast"]


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  ours


def rows(svg: str, classes: str = "") -> list[str]:
    """The texts of each row that stood on the terminal; of those that wear a class."""
    groups = parsed(svg).findall(f".//{NAMESPACE}g/{NAMESPACE}g")
    return [
        " ".join(text.text or "" for text in group.findall(f"{NAMESPACE}text"))
        for group in groups
        if classes in group.get("class").split() or not classes
    ]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", ["demo.svg", "factor-light.png", "factor-dark.png"])
def test_pictures_are_small(name):
    assert 10_000 < (PICTURES / name).stat().st_size < 150_000


def test_the_page_has_one_size_on_either_ground():
    heads = [(PICTURES / f"factor-{scheme}.png").read_bytes()[:24] for scheme in ("light", "dark")]
    assert heads[0][:8] == b"\x89PNG\r\n\x1a\n"
    assert heads[0] == heads[1]


def test_the_cast_is_plain_and_closed():
    tags = {element.tag.removeprefix(NAMESPACE) for element in parsed(SVG).iter()}
    assert tags == {"svg", "style", "rect", "g", "text"}
    assert not re.search(r"href|url\(|@import|\son\w+=", SVG)
    assert SVG.count("://") == 1 + SVG.count("http://127.0.0.1")
    assert not re.search(r"/(home|root|tmp|work|usr)/", SVG)
    assert "prefers-color-scheme:dark" in SVG


def test_the_cast_takes_twenty_seconds_and_ends_with_what_was_found():
    assert set(re.findall(r"animation:\w+ (\S+) ", SVG)) == {"20s"}
    last = rows(SVG, "e")
    assert last[0] == "$ alphamill demo"
    assert any(row.startswith("Planted factors found: 2 of 2") for row in last)
    assert last[-1].startswith("everything is stopped again")


def test_its_letters_can_be_read_on_either_ground():
    assert len(re.findall(r":root\{", SVG)) == 2
    for ground in re.findall(r":root\{([^}]*)\}", SVG):
        shades = dict(re.findall(r"--(\w+):(#\w{6})", ground))
        behind = luminance(shades.pop("ground"))
        del shades["edge"]
        for ink, shade in shades.items():
            bright, dark = sorted((luminance(shade), behind), reverse=True)
            assert (bright + 0.05) / (dark + 0.05) >= 4.5, ink


def test_a_row_that_changes_is_shown_for_its_time_and_hostile_text_stays_text(cast):
    first, second = cast.Piece(0, "1 of 2"), cast.Piece(2, "</text><script>", "red", bold=True)
    svg = cast.drawn([cast.Shown(0, 0, {0: (first,)}), cast.Shown(5, 0, {0: (second,)})])
    assert rows(svg) == ["1 of 2", "</text><script>"]
    assert rows(svg, "e") == ["</text><script>"]
    assert "0%{visibility:visible}25%{visibility:hidden}" in svg
    assert "0%{visibility:hidden}25%{visibility:visible}" in svg
    assert 'class="red b"' in svg


def test_a_run_is_played_faster_and_its_results_page_by_page(cast):
    def line(number):
        return {number: (cast.Piece(0, f"line {number}"),)}

    head = line(0) | line(1)
    whole = {number: pieces for row in range(100) for number, pieces in line(row).items()}
    looks = [cast.Shown(second, 0, head) for second in range(90)]
    played = cast.paced([*looks, cast.Shown(90, 100 - cast.ROWS, whole)])
    times = [look.at_s for look in played]
    assert times == sorted(times)
    assert times[-1] < cast.LENGTH_S
    run = [look for look in played if max(look.rows) == 1]
    assert 20 < len(run) < 40
    held = [
        max(look.rows) for look, then in itertools.pairwise(played) if then.at_s - look.at_s > 1
    ]
    page = cast.ROWS - 4
    assert held == [page, 2 * page, 3 * page], "each page stays for a while"
    assert played[-1].rows == whole
    assert all(max(look.rows) - look.top < cast.ROWS for look in played)


def test_what_a_command_writes_comes_with_its_times_and_a_failure_is_told(cast):
    written = list(cast.record(["sh", "-c", "printf hello; stty size"], {"PATH": "/usr/bin:/bin"}))
    assert b"".join(part for _, part in written) == b"hello%d 80\r\n" % cast.ROWS
    assert all(at_s >= 0 for at_s, _ in written)
    with pytest.raises(subprocess.CalledProcessError):
        list(cast.record(["sh", "-c", "exit 3"], {"PATH": "/usr/bin:/bin"}))
