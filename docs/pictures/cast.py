"""A run of `alphamill demo` as an animated SVG: what a terminal showed, in twenty seconds.

The command runs in a pseudo-terminal; what it wrote, and when, is read by a terminal emulator. The
time until its results is played faster; they are then turned page by page. Plain CSS animation
without a script, so that it plays in an <img>; where nothing moves, the end is shown.

Usage: python docs/pictures/cast.py docs/pictures/demo.svg
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

COLUMNS, ROWS = 80, 36
LENGTH_S = 20.0
_RUN_S = 9.0  # of which the run itself, until its results are there
_LINE_S = 0.03  # a line of what is turned to the next page
_PART_S = 0.05  # what comes sooner after something belongs to it
_LOOK_S = 0.25  # apart, as played

_CELL, _LINE, _MARGIN = 8.4, 18, 16  # px, at a font of 14
_DIM = re.compile(rb"\x1b\[((?:\d+;)*)2((?:;\d+)*)m")

# name -> on a light ground, on a dark one; contrast 4.5 and more
_INKS = {
    "default": ("#1f2328", "#e6edf3"),
    "red": ("#b3261e", "#ff7b72"),
    "green": ("#116329", "#56d364"),
    "brown": ("#7d4e00", "#e3b341"),
    "blue": ("#0550ae", "#79c0ff"),
    "magenta": ("#8250df", "#d2a8ff"),
    "cyan": ("#1b6a77", "#56d4dd"),
    "dim": ("#59636e", "#9198a1"),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of a row that look alike. column: of the first; ink: of _INKS."""

    column: int
    text: str
    ink: str = "default"
    bold: bool = False


Row = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """The terminal from at_s on. top: the first row in sight; rows: all so far, by number."""

    at_s: float
    top: int
    rows: Mapping[int, Row]


def record(command: Sequence[str], env: Mapping[str, str]) -> Iterator[tuple[float, bytes]]:
    """What the command writes to its terminal, with seconds since it was started.

    Raises CalledProcessError if it fails.
    """
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    started_s = time.monotonic()
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=env, close_fds=True)
    os.close(its)
    try:
        while True:
            try:
                written = os.read(ours, 65_536)
            except OSError:  # Linux says so when the last writer has gone
                written = b""
            if not written:
                break
            yield time.monotonic() - started_s, written
    finally:
        os.close(ours)
        code = process.wait()
    if code:
        raise subprocess.CalledProcessError(code, command)


def seen(recorded: Sequence[tuple[float, bytes]]) -> list[Shown]:
    """What stood on the terminal whenever all of something had been written."""
    import pyte  # only who makes the picture has it

    screen = pyte.HistoryScreen(COLUMNS, ROWS, history=10_000)
    stream = pyte.ByteStream(screen)
    looks: list[Shown] = []
    ends_s = [at_s for at_s, _ in recorded[1:]] + [float("inf")]
    for (at_s, written), next_s in zip(recorded, ends_s, strict=True):
        # The emulator does not know faint letters: it is told grey ones.
        stream.feed(_DIM.sub(b"\x1b[\\g<1>90\\g<2>m", written))
        if next_s - at_s < _PART_S:
            continue
        top = len(screen.history.top)
        lines = [*screen.history.top, *(screen.buffer[y] for y in range(ROWS))]
        rows = {number: _pieces(line) for number, line in enumerate(lines)}
        looks.append(Shown(at_s, top, {number: row for number, row in rows.items() if row}))
    return looks


def _pieces(line) -> Row:
    """A row of the emulator's cells without the blanks at its end."""
    cells = [line[x] for x in range(COLUMNS)]
    pieces: list[Piece] = []
    for x, cell in enumerate(cells):
        ink = "dim" if cell.fg == "brightblack" else cell.fg
        look = (ink if ink in _INKS else "default", cell.bold)
        if pieces and (pieces[-1].ink, pieces[-1].bold) == look:
            pieces[-1] = Piece(pieces[-1].column, pieces[-1].text + cell.data, *look)
        else:
            pieces.append(Piece(x, cell.data, *look))
    return tuple(
        Piece(piece.column, piece.text.rstrip(), piece.ink, piece.bold)
        for piece in pieces
        if piece.text.strip()
    )


def paced(looks: Sequence[Shown]) -> list[Shown]:
    """The same in LENGTH_S: the run faster than it was, then its results a page at a time.

    The results are what is written in the end at once, more than half a terminal of it.
    """
    last = max(looks[-1].rows)
    results_at = next(
        (
            number
            for number, look in enumerate(looks)
            if max(look.rows) - max(looks[max(number - 1, 0)].rows) > ROWS // 2
        ),
        len(looks) - 1,
    )
    run, whole = looks[:results_at], looks[-1].rows
    speed = _RUN_S / max(looks[results_at].at_s, 1e-9)
    played: list[Shown] = []
    for look in run:
        if not played or look.at_s * speed - played[-1].at_s >= _LOOK_S:
            played.append(Shown(look.at_s * speed, look.top, look.rows))
    first = max(run[-1].rows, default=0) if run else 0
    starts = [*range(first, last + 1, ROWS - 4)]
    page_s = (LENGTH_S - _RUN_S) / len(starts)
    for number, start in enumerate(starts):
        page_at_s = _RUN_S + number * page_s
        for step, end in enumerate(range(start, min(start + ROWS - 4, last + 1))):
            rows = {row: pieces for row, pieces in whole.items() if row <= end}
            played.append(Shown(page_at_s + step * _LINE_S, max(0, end - ROWS + 1), rows))
    return played


def drawn(looks: Sequence[Shown]) -> str:
    """The SVG. Each row that ever stood somewhere is one text, in sight for its time."""
    width, height = COLUMNS * _CELL + 2 * _MARGIN, ROWS * _LINE + 2 * _MARGIN
    last_top = looks[-1].top
    times: dict[tuple[float, float], str] = {}
    texts = []
    for number, row, from_s, to_s in _lives(looks):
        name = times.setdefault((from_s, to_s), f"a{len(times)}")
        kind = "" if to_s < LENGTH_S else " e"
        texts.append(f'<g class="{name}{kind}">{_text(number, row)}</g>')
    keyframes = [_keyframes(name, *life) for life, name in times.items()]
    style = [
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        "white-space:pre;fill:var(--default)}",
        ".b{font-weight:700}",
        *(f".{ink}{{fill:var(--{ink})}}" for ink in _INKS if ink != "default"),
        _ground("#ffffff", "#d0d7de", 0),
        f"@media(prefers-color-scheme:dark){{{_ground('#0d1117', '#3d444d', 1)}}}",
        "g g{visibility:hidden}g .e{visibility:visible}",
        f"@media(prefers-reduced-motion:no-preference){{{''.join(keyframes)}{_turning(looks)}}}",
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" '
        f'width="{width:g}" height="{height}" role="img" aria-label="alphamill demo in a terminal">'
        f"<style>{''.join(style)}</style>"
        f'<rect x=".5" y=".5" width="{width - 1:g}" height="{height - 1}" rx="8" '
        'fill="var(--ground)" stroke="var(--edge)"/>'
        f'<svg y="{_MARGIN}" height="{ROWS * _LINE}">'
        f'<g class="turn" transform="translate({_MARGIN} {-last_top * _LINE})">'
        f"{''.join(texts)}</g></svg></svg>\n"
    )


def _ground(ground: str, edge: str, at: int) -> str:
    inks = "".join(f"--{ink}:{shades[at]};" for ink, shades in _INKS.items())
    return f":root{{--ground:{ground};--edge:{edge};{inks}}}"


def _lives(looks: Sequence[Shown]) -> Iterator[tuple[int, Row, float, float]]:
    """Each row as it once stood: its number, from when and until when."""
    standing: dict[int, tuple[Row, float]] = {}
    for look in looks:
        for number in [*standing.keys(), *look.rows.keys()]:
            row = look.rows.get(number)
            before = standing.get(number)
            if before and before[0] != row:
                yield number, before[0], before[1], look.at_s
                del standing[number]
            if row and number not in standing:
                standing[number] = (row, look.at_s)
    for number, (row, from_s) in sorted(standing.items()):
        yield number, row, from_s, LENGTH_S


def _text(number: int, row: Row) -> str:
    y = number * _LINE + 15
    spans = []
    for piece in row:
        classes = [piece.ink] * (piece.ink != "default") + ["b"] * piece.bold
        look = f' class="{" ".join(classes)}"' if classes else ""
        text = piece.text.lstrip()
        x = (piece.column + len(piece.text) - len(text)) * _CELL
        # Whatever a viewer's font, a character is a cell wide.
        spans.append(
            f'<text x="{x:.6g}" y="{y}"{look} textLength="{len(text) * _CELL:.6g}" '
            f'lengthAdjust="spacingAndGlyphs">{escape(text, quote=False)}</text>'
        )
    return "".join(spans)


def _percent(at_s: float) -> str:
    return f"{100 * at_s / LENGTH_S:.2f}".rstrip("0").rstrip(".") + "%"


def _keyframes(name: str, from_s: float, to_s: float) -> str:
    stops = {"0%": "hidden", _percent(from_s): "visible"}
    if to_s < LENGTH_S:
        stops[_percent(to_s)] = "hidden"
    steps = "".join(f"{at}{{visibility:{how}}}" for at, how in stops.items())
    played = f"animation:{name} {LENGTH_S:g}s step-end infinite"
    return f"@keyframes {name}{{{steps}}}.{name}{{{played}}}"


def _turning(looks: Sequence[Shown]) -> str:
    """How far the rows are pushed up, and when."""
    stops, before = [], None
    for look in looks:
        if look.top != before:
            at = "0%" if before is None else _percent(look.at_s)
            stops.append(f"{at}{{transform:translate({_MARGIN}px,{-look.top * _LINE}px)}}")
            before = look.top
    played = f".turn{{animation:turn {LENGTH_S:g}s step-end infinite}}"
    return f"@keyframes turn{{{''.join(stops)}}}{played}"


def main(out: Path) -> None:
    """Run the demo in a home of its own, and draw what it showed."""
    with tempfile.TemporaryDirectory() as home:
        env = {name: text for name, text in os.environ.items() if not name.startswith("ALPHAMILL_")}
        caches = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        env |= {"HOME": home, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        env["XDG_CACHE_HOME"] = caches  # of compiled kernels: not the first run on this machine
        env.pop("COLORTERM", None)
        command = [shutil.which("alphamill") or "alphamill", "demo"]
        typed = (0.0, b"\x1b[32m$\x1b[0m alphamill demo\r\n")
        recorded = [typed, *record(command, env)]
        at_home = home.encode()
        recorded = [(at_s, written.replace(at_home, b"~")) for at_s, written in recorded]
    out.write_text(drawn(paced(seen(recorded))), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
