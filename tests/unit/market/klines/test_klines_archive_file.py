"""Archive files: names, zips and CSVs, the exchange's own among them."""

import io
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.frames import KLINES, Interval, Market, Month, times_ms
from alphamill.market import archive_zip
from alphamill.market.klines.archive_file import KlineFile, parse_csv, parse_zip
from alphamill.market.klines.parse import find_gaps, utc_text

REAL = Path(__file__).resolve().parents[5] / "shared" / "data" / "vision_csv"
BTC_DAY = KlineFile(Market.SPOT, "BTCUSDT", Interval.M1, Month(2021, 4), 23)
ROW = "1619136000000,5.5,6,5,5.75,10.25,1619136059999,58.9,7,4,23.1,0"


@pytest.fixture(params=["fast", "zlib"])
def inflater(request, monkeypatch):
    """Each with the inflater of this platform, and with the one that every Python has."""
    if request.param == "zlib":
        monkeypatch.setattr(archive_zip, "_deflate", zlib)
    else:
        assert archive_zip._deflate is not zlib  # declared for every platform that CI has


def zipped(*members, method=zipfile.ZIP_DEFLATED):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return sink.getvalue()


def test_names_are_the_archives():
    month = KlineFile(Market.USD_M, "NEARUSDT", Interval.M1, Month(2025, 6))
    assert month.path == "data/futures/um/monthly/klines/NEARUSDT/1m/NEARUSDT-1m-2025-06.zip"
    assert BTC_DAY.path == "data/spot/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2021-04-23.zip"
    long = KlineFile(Market.COIN_M, "BTCUSD_PERP", Interval.MO1, Month(2021, 4))
    assert long.path == "data/futures/cm/monthly/klines/BTCUSD_PERP/1mo/BTCUSD_PERP-1mo-2021-04.zip"
    assert (month.source, BTC_DAY.source) == ("archive-monthly", "archive-daily")
    assert [utc_text(t) for t in (BTC_DAY.range.start_ms, BTC_DAY.range.end_ms)] == [
        "2021-04-23 00:00",
        "2021-04-24 00:00",
    ]
    noon = int(datetime(2021, 4, 23, 12, tzinfo=UTC).timestamp() * 1000)
    assert KlineFile(Market.SPOT, "BTCUSDT", Interval.M1, Month(2021, 4)).of_day(noon) == BTC_DAY


def unflagged(content):
    """The zip as a writer makes it that does not say that its names are UTF-8."""
    changed = bytearray(content)
    for magic, flags in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        at = content.index(magic) + flags
        assert changed[at] & 0x08
        changed[at] &= ~0x08
    return bytes(changed)


def test_a_name_of_another_script_with_and_without_the_flag_of_utf8(inflater):
    file = KlineFile(Market.SPOT, "币安人生USDT", Interval.M1, Month(2021, 4), 23)
    folder = "data/spot/daily/klines/币安人生USDT/1m"
    assert file.path == f"{folder}/币安人生USDT-1m-2021-04-23.zip"
    content = zipped((f"{file.stem}.csv", ROW))
    assert zipfile.ZipFile(io.BytesIO(unflagged(content))).namelist() != [f"{file.stem}.csv"]
    for whole in (content, unflagged(content)):
        assert parse_zip(whole, file).num_rows == 1
    other = zipped((f"{file.stem.replace('币', '幣')}.csv", ROW))
    for wrong in (other, unflagged(other)):
        with pytest.raises(ValueError, match="not 币安人生USDT-1m-2021-04-23"):
            parse_zip(wrong, file)


@pytest.mark.parametrize("symbol", ["../x", "btcusdt", "BTC/USDT", "", "币/..", "币\u202eUSDT"])
def test_a_symbol_that_could_change_the_path_makes_no_name(symbol):
    with pytest.raises(ValueError, match="not a symbol"):
        KlineFile(Market.SPOT, symbol, Interval.M1, Month(2021, 4))


@pytest.mark.skipif(not REAL.is_dir(), reason="the recorded CSVs are not beside the repository")
@pytest.mark.parametrize(
    ("name", "file", "rows", "gaps"),
    [
        (
            "BTCUSDT-1m-2023-03-24.csv",
            KlineFile(Market.SPOT, "BTCUSDT", Interval.M1, Month(2023, 3), 24),
            1360,
            [("2023-03-24 12:40", 80)],
        ),
        (
            "BTCUSDT-1m-2024-12-31.csv",
            KlineFile(Market.SPOT, "BTCUSDT", Interval.M1, Month(2024, 12), 31),
            1440,
            [],
        ),
        (
            "BTCUSDT-1m-2025-01-01.csv",
            KlineFile(Market.SPOT, "BTCUSDT", Interval.M1, Month(2025, 1), 1),
            1440,
            [],
        ),
        (
            "NEARUSDT-1m-2025-06.first1d.csv",
            KlineFile(Market.USD_M, "NEARUSDT", Interval.M1, Month(2025, 6), 1),
            1440,
            [],
        ),
    ],
)
def test_the_exchanges_own_files(name, file, rows, gaps):
    text = (REAL / name).read_bytes()
    table = parse_zip(zipped((f"{file.stem}.csv", text)), file)
    assert table.schema == KLINES
    assert table.num_rows == rows
    found = find_gaps(table, file.interval, file.range)
    assert [(utc_text(gap.start_ms), gap.bars) for gap in found] == gaps
    assert times_ms(table)[0] == file.range.start_ms
    assert times_ms(table, "close_time")[-1] == file.range.end_ms - 1
    lines = [line.split(",") for line in text.decode().splitlines() if line[0].isdigit()]
    for column, field in enumerate(KLINES):
        if column not in (0, 6):
            expected = [float(line[column]) for line in lines]
            assert table[field.name].to_pylist() == expected, field.name


def test_what_is_inside_must_be_the_files_own_bars(inflater):
    name = f"{BTC_DAY.stem}.csv"
    good = zipped((name, ROW))
    assert parse_zip(good, BTC_DAY)["trades"].to_pylist() == [7]
    assert parse_zip(zipped((name, ROW), method=zipfile.ZIP_STORED), BTC_DAY).num_rows == 1
    other_day = ROW.replace("1619136000000", "1619222400000")
    bad = {
        "not a zip": b"<html>",
        "is not a zip": good[: len(good) // 2],
        r"not .* alone": zipped((name, ROW), ("more.csv", ROW)),
        r"evil.csv'\], not": zipped(("../evil.csv", ROW)),
        "outside its range": zipped((name, other_day)),
        "by method 12": zipped((name, ROW), method=zipfile.ZIP_BZIP2),
        "not finite": zipped((name, ROW.replace("5.5", "nan"))),
    }
    for reason, content in bad.items():
        with pytest.raises(ValueError, match=reason):
            parse_zip(content, BTC_DAY)


def test_no_byte_of_a_zip_can_change_without_notice(inflater):
    """Every flipped byte is refused, or it is one that says nothing about the bars."""
    good = zipped((f"{BTC_DAY.stem}.csv", ROW))
    table, refused = parse_zip(good, BTC_DAY), 0
    for at in range(len(good)):
        broken = bytearray(good)
        broken[at] ^= 0xFF
        try:
            assert parse_zip(bytes(broken), BTC_DAY).equals(table)
        except ValueError:
            refused += 1
    assert refused > len(good) // 3


def test_a_zip_that_unpacks_to_more_than_it_says(inflater):
    name = f"{BTC_DAY.stem}.csv"
    content = zipped((name, "0" * 5000))
    lying = content.replace((5000).to_bytes(4, "little"), (40).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="not the one that was packed"):
        parse_zip(lying, BTC_DAY)
    huge = content.replace((5000).to_bytes(4, "little"), (2**31).to_bytes(4, "little"))
    with pytest.raises(ValueError, match="too large"):
        parse_zip(huge, BTC_DAY)


@pytest.mark.parametrize(
    "text",
    [
        ROW + ",1",
        ROW[:-2],
        ROW.replace("5.5", ""),
        ROW.replace("5.5", "abc"),
        ROW.replace(",7,", ",7.5,"),
        ROW.replace("1619136000000", ""),
        ROW + "\n" + ROW[:30],
        f'"{ROW}"',
    ],
)
def test_a_malformed_line_is_refused(text):
    if text.startswith('"'):
        text = ROW + "\n" + text
    with pytest.raises(ValueError, match="malformed"):
        parse_csv(text.encode(), "BTCUSDT", Interval.M1)


@pytest.mark.parametrize("text", [b"", b"open_time,open,high\n", b"open_time"])
def test_no_bars(text):
    assert parse_csv(text, "BTCUSDT", Interval.M1).num_rows == 0


def test_repeated_and_unordered_lines_become_one_row_each():
    first, later = ROW, ROW.replace("1619136000000", "1619136060000")
    text = "\n".join([later, first, first.replace(",7,", ",8,")])
    table = parse_csv(text.encode(), "BTCUSDT", Interval.M1)
    assert table["trades"].to_pylist() == [8, 7]


prices = st.floats(1e-8, 1e9, allow_nan=False).map(lambda x: float(f"{x:.8f}"))
bar = st.tuples(*[prices] * 5, prices, st.integers(0, 2**40), prices, prices)


@settings(max_examples=100, deadline=None)
@given(
    bars=st.dictionaries(st.integers(0, 40_000), bar, min_size=1, max_size=20),
    header=st.booleans(),
    micros=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
    end=st.booleans(),
    fixed=st.booleans(),
)
def test_text_to_bars_gives_back_every_number(bars, header, micros, newline, end, fixed):
    start_ms, unit = Month(2025, 3).start_ms, 1000 if micros else 1
    minutes = sorted(bars)
    lines = ["open_time,open,high,low,close,volume,close_time,a,b,c,d,e"] if header else []
    for n in minutes:
        o, h, low, c, v, q, trades, tb, tq = bars[n]
        opens = start_ms + n * 60_000
        p = [f"{x:.8f}" if fixed else repr(x) for x in (o, h, low, c, v, q, tb, tq)]
        closes = (opens + 60_000) * unit - 1
        lines.append(
            ",".join([str(opens * unit), *p[:5], str(closes), p[5], str(trades), *p[6:], "0"])
        )
    text = newline.join(lines) + (newline if end else "")
    table = parse_csv(text.encode(), "X", Interval.M1)
    assert ((times_ms(table) - start_ms) // 60_000).tolist() == minutes
    assert (times_ms(table, "close_time") == times_ms(table) + 59_999).all()
    names = [f.name for f in KLINES if f.name not in ("open_time", "close_time")]
    for i, name in enumerate(names):
        expected = np.array([bars[n][i] for n in minutes])
        assert np.array_equal(table[name].to_numpy(), expected), name
