"""Symbols of a command: named, from a file, both; a line that is none is named."""

import click
import pytest

from alphamill.frames import Market
from alphamill.settings import Settings
from producers.submit.universe import Universe, chosen_symbols


def chosen(named=(), file=None):
    universe = Universe(tuple(named), file, None, "USDT")
    return chosen_symbols(Settings(), Market.SPOT, universe).symbols


def test_named_and_from_a_file_each_once_in_order(tmp_path):
    file = tmp_path / "universe.txt"
    file.write_text("# majors\nETHUSDT\n\n  BTCUSDT  # the first\nLUNAUSDT # delisted\n")
    assert chosen([("SOLUSDT", "BTCUSDT")], file) == ("SOLUSDT", "BTCUSDT", "ETHUSDT", "LUNAUSDT")


def test_a_file_that_an_editor_has_marked_is_read(tmp_path):
    file = tmp_path / "universe.txt"
    file.write_text("\ufeffETHUSDT\r\nBTCUSDT\r\n", encoding="utf-8")
    assert chosen((), file) == ("ETHUSDT", "BTCUSDT")


def test_a_bad_line_is_named(tmp_path):
    file = tmp_path / "universe.txt"
    file.write_text("BTCUSDT\nbtc/usdt\n")
    with pytest.raises(click.UsageError, match="line 2: 'btc/usdt'"):
        chosen((), file)


def test_a_file_of_another_encoding_is_told_the_cure(tmp_path):
    file = tmp_path / "universe.txt"
    file.write_bytes("币安人生USDT\n".encode("gbk"))
    with pytest.raises(click.UsageError, match=r"universe.txt is not UTF-8 .*; save it as that"):
        chosen((), file)


def test_no_symbol_at_all(tmp_path):
    empty = tmp_path / "universe.txt"
    empty.write_text("# nothing yet\n")
    for file in (None, empty):
        with pytest.raises(click.UsageError, match="--top N"):
            chosen((), file)
