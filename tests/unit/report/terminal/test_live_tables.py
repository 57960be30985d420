"""Lives on a terminal: whole figures however narrow it is."""

import io

import pytest
from rich.console import Console

from alphamill.live import Entry, State
from alphamill.report.terminal.live import factors_table, lives_table, signals_table
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
    text = shown(lives_table([(ENTRY, 12_345, signal(3))]), columns)
    assert ENTRY.id in text
    assert "12,345" in text
    assert "2024-10-04 00:03" in text
    table = shown(factors_table(ENTRY, {}), columns)
    assert "ffffffff  close" in table
    assert "by hand" in table
