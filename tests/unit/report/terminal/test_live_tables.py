"""Lives on a terminal: whole figures however narrow it is."""

import io
from collections import Counter

import pytest
from rich.console import Console

from alphamill.live import Entry, State
from alphamill.live.condition import Standing
from alphamill.live.follow_up import Checked
from alphamill.live.parity import Difference, Parity, Why
from alphamill.report.terminal.live import factors_table, lives_table, parity_view, signals_table
from tests.unit.live.test_journal import SPEC, START, signal

ENTRY = Entry(SPEC, START)


def shown(view, columns):
    out = io.StringIO()
    Console(file=out, width=columns).print(view)
    return out.getvalue()


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_rows_keep_their_number_factor_and_symbols(columns):
    rows = [
        signal(7, seq=1_234, symbols=("BTCUSDT", "ETHUSDT"), weights=(0.5, -0.5)),
        signal(8, seq=1_235, state=State.NO_SIGNAL, symbols=(), weights=(), reason="1 of 3 there"),
        # who was there is named below the quorum too, and holds nothing
        signal(9, seq=1_236, state=State.NO_SIGNAL, symbols=("BTCUSDT",), weights=()),
    ]
    text = shown(signals_table(rows), columns)
    first, second, third = (line for line in text.splitlines() if "ffffffff" in line)
    assert first.split()[:6] == ["1,234", "2024-10-04", "00:07", "0", "ffffffff", "2/3"]
    assert "BTCUSDT" in first
    assert second.split()[:6] == ["1,235", "2024-10-04", "00:08", "0", "ffffffff", "0/3"]
    assert third.split()[5] == "1/3"
    assert max(map(len, text.splitlines())) <= columns


def test_a_reason_is_text_and_no_markup():
    row = signal(
        state=State.NO_SIGNAL, reason="[red]no such \x1b[31mcolumn", symbols=(), weights=()
    )
    text = shown(signals_table([row]), 100)
    assert "[red]no such" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("columns", [60, 160])
def test_a_live_is_named_whole(columns):
    text = shown(lives_table([(ENTRY, 12_345, signal(3))], [Standing("followed")]), columns)
    assert ENTRY.id in text
    assert "12,345" in text
    assert "2024-10-04 00:03" in text
    table = shown(factors_table(ENTRY, {}), columns)
    assert "ffffffff  close" in table
    assert "by hand" in table


@pytest.mark.parametrize("columns", [80, 160])
def test_a_difference_keeps_its_symbol_and_figures(columns):
    because = ("DOGEUSDT", START)
    found = Difference(
        12_345, "f" * 16, START, 1, "1000SATSUSDT", 0.142857, -0.25, Why.LATE, because
    )
    counts = Counter({Why.LATE: 1})
    text = shown(parity_view(Checked(1, counts, 1, START), Parity(counts, 1, 0, [found])), columns)
    (line,) = (line for line in text.splitlines() if "ffffffff" in line)
    for cell in ("12345", "2024-10-04 00:00", "1000SATSUSDT", "0.142857", "-0.250000", "late"):
        assert cell in line.replace(",", "")
    assert "…" not in text
