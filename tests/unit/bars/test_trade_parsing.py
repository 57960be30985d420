"""Rows of trades to exact columns, from files in pieces and from pages."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.bars import TradeParser, join, parse_trade_rows, parse_trades, read_trades
from alphamill.bars.trades import copied
from tests.unit.bars.conftest import COIN_M, SPOT, SPOT_AGGREGATES, USD_M, USD_M_AGGREGATES, printed

SPOT_ROW = b"3735683259,61837.63000000,0.02000000,1236.75260000,1723161255342,True,True\n"
E8 = 10**8


def columns(trades):
    return {
        name: column.tolist()
        for name in ("id", "time_us", "price", "quantity", "is_buyer_maker", "quote", "first_id")
        if (column := getattr(trades, name)) is not None
    }


def test_a_row_of_each_layout():
    assert columns(parse_trades(SPOT_ROW, SPOT)) == {
        "id": [3735683259],
        "time_us": [1723161255342000],
        "price": [6183763000000],
        "quantity": [2000000],
        "is_buyer_maker": [True],
        "quote": [123675260000],
    }
    aggregate = parse_trades(
        b"26129,0.01633102,4.70443515,27781,27783,1498793709153,true,true\n", SPOT_AGGREGATES
    )
    assert (aggregate.first_id.tolist(), aggregate.last_id.tolist()) == ([27781], [27783])
    assert aggregate.quote is None
    futures = (
        b"id,price,qty,quote_qty,time,is_buyer_maker\n5,61800.3,0.006,370.8,1723161256322,false\n"
    )
    assert parse_trades(futures, USD_M).quote is None  # price times quantity is exact there
    coin = b"id,price,qty,base_qty,time,is_buyer_maker\n5,34161.6,3,0.00878179,1698364800000,true\n"
    assert parse_trades(coin, COIN_M).quote.tolist() == [878179]


@pytest.mark.parametrize(
    ("spelled", "sold"),
    [("True", True), ("true", True), ("TRUE", True), ("1", True), ("False", False), ("0", False)],
)
def test_booleans_as_they_have_been_spelled(spelled, sold):
    row = f"5,61800.3,0.006,370.8,1723161256322,{spelled}\n".encode()
    assert parse_trades(row, USD_M).is_buyer_maker.tolist() == [sold]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("head", [b"", b"id,price,qty,quoteQty,time,isBuyerMaker,isBestMatch"])
@pytest.mark.parametrize("quoted", [False, True])
def test_header_line_ends_quotes_and_the_last_line_make_no_difference(end, last, head, quoted):
    rows = [SPOT_ROW.rstrip()] * 3
    if quoted:
        rows = [b",".join(b'"%s"' % cell for cell in row.split(b",")) for row in rows]
    text = b"".join(line + end for line in [head, *rows] if line)
    found = parse_trades(text if last else text.removesuffix(end), SPOT)
    assert columns(found) == columns(parse_trades(SPOT_ROW * 3, SPOT))


def test_a_header_is_read_and_not_only_skipped():
    row = b"1715206948,29223.0,0.639,3643221425,3643221428,1682899200101,true"
    head = b"agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
    plain = columns(parse_trades(row + b"\n", USD_M_AGGREGATES))
    assert columns(parse_trades(head + b"\n" + row, USD_M_AGGREGATES)) == plain
    more = b"\xef\xbb\xbf" + head + b",nq,x\n" + row + b",0.639,?\n"  # what is new is passed over
    assert columns(parse_trades(more, USD_M_AGGREGATES)) == plain
    with pytest.raises(ValueError, match="in the header 'price' stands where quantity belongs"):
        parse_trades(head.replace(b"quantity", b"price") + b"\n" + row, USD_M_AGGREGATES)
    with pytest.raises(ValueError, match="in the header nothing stands where first belongs"):
        parse_trades(b"a,p,q\n", USD_M_AGGREGATES)


def test_microseconds_are_told_by_value():
    row = SPOT_ROW.replace(b"1723161255342", b"1735689600000001")
    assert parse_trades(row, SPOT).time_us.tolist() == [1735689600000001]
    with pytest.raises(ValueError, match="times in ms and in us stand mixed behind line"):
        parse_trades(SPOT_ROW + row, SPOT)


def test_numbers_are_exact_in_every_spelling():
    def price(text):
        row = f"5,{text},1,1,1723161256322,1\n".encode()
        return parse_trades(row, USD_M).price.tolist()[0]

    assert price("0.00000001") == 1
    assert price("92233720367.99999999") == 9223372036799999999
    assert price("7e-05") == price("0.00007") == 7000
    assert price("100") == price("100.") == 100 * E8
    assert price("1.25E+2") == price("125.0000000000") == 125 * E8


def test_a_quantity_beyond_64_bits_has_fewer_decimals_and_loses_nothing():
    rows = b"1,0.5,0.25,1,1723161256322,1\n2,0.00000012,250000000000.5,3,1723161256322,1\n"
    found = parse_trades(rows, USD_M)
    assert found.quantity_decimals == 7
    assert found.quantity.tolist() == [2500000, 2500000000005000000]
    pieces = TradeParser(USD_M)
    apart = [pieces.add(line + b"\n") for line in rows.splitlines()]
    assert [piece.quantity_decimals for piece in apart] == [8, 7]
    assert join(apart).quantity.tolist() == found.quantity.tolist()
    with pytest.raises(ValueError, match=r"line 1, column quantity: '250000000000.12345678' has "):
        parse_trades(b"2,0.5,250000000000.12345678,3,1723161256322,1\n", USD_M)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"1,2,3\n", "line 1 has 3 columns, where trades of spot have 7"),
        (b"1,2,3,4,5,6,True\n", "line 1, column side: '6' is no boolean"),
        (b"1,2,3,4,5,Truthy,True\n", "line 1, column side: 'Truthy' is no boolean"),
        (b"1,x,3,4,5,True,True\n", "line 1, column price: 'x' is no number"),
        (b"1,,3,4,5,True,True\n", "line 1, column price: '' is no number"),
        (b"1,2 ,3,4,5,True,True\n", "line 1, column price: '2 ' is no number"),
        (b"1,2,-3,4,5,True,True\n", "line 1, column quantity: '-3' is no number"),
        (b"1,2,3.123456789,4,5,True,True\n", "column quantity: '3.123456789' has more than 8 dec"),
        (
            b"1,99999999999.9,3,4,5,True,True\n",
            "column price: '99999999999.9' does not fit 64 bits",
        ),
        (b"99999999999999999999,2,3,4,5,True,True\n", "line 1, column id: '999"),
        (SPOT_ROW + b"1,2,3,4,5,True,True,8\n", "line 2 has 8 columns, the first one had 7"),
        (SPOT_ROW * 2 + b"1,2,3\n", "line 3 ends after 3 of 7 columns"),
        (SPOT_ROW + b"37356832", r"line 2 ends after 1 of 7 columns.*the file may be cut off"),
        (SPOT_ROW + b"1,2,3,4,5,Tr", r"'Tr' is no boolean.*the file may be cut off"),
        (b"id,price,foo\n", "line 1: in the header 'foo' stands where quantity belongs"),
        (SPOT_ROW + b"7" * 5000, "a line is longer than 4096 bytes"),
        (b"7" * 5000, "a line is longer than 4096 bytes"),
        (b"\x00\x01\xff\n", "line 1 has 1 columns"),
    ],
)
def test_what_is_no_row_is_told_by_line_and_column(text, said):
    with pytest.raises(ValueError, match=said):
        parse_trades(text, SPOT)


def test_an_empty_file_is_no_trades():
    for text in (b"", b"\n", b"id,price,qty,quote_qty,time,is_buyer_maker\r\n"):
        assert len(parse_trades(text, SPOT)) == 0


@pytest.fixture(scope="module")
def file(recorded):
    return printed(recorded("spot")[:200], SPOT)


def test_cuts_anywhere_make_no_difference(file):
    whole = columns(parse_trades(file, SPOT))

    @given(st.lists(st.integers(0, len(file)), max_size=8))
    def cut(places):
        parser = TradeParser(SPOT)
        ends = itertools.pairwise([0, *sorted(places), len(file)])
        pieces = [parser.add(file[start:end]) for start, end in ends]
        assert columns(join([*pieces, parser.finish()])) == whole
        ends = itertools.pairwise([0, *sorted(places), len(file)])
        streamed = read_trades((file[start:end] for start, end in ends), SPOT)
        assert columns(join([copied(piece) for piece in streamed])) == whole

    cut()
    parser = TradeParser(SPOT)
    bytewise = [parser.add(file[at : at + 1]) for at in range(1000)]
    assert join(bytewise).id.tolist() == whole["id"][: file[:1000].count(b"\n")]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 // E8 - 2),
            st.integers(0, E8 - 1),
            st.integers(0, 8),
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_decimal_that_fits_is_read_exactly(numbers):
    lines, wanted = [], []
    for whole, fraction, zeros, sold in numbers:
        text = (
            f"{whole}.{fraction:08d}".rstrip("0").rstrip(".")
            if zeros
            else f"{whole}.{fraction:08d}"
        )
        lines.append(f"{whole},{text},1,1,1723161256322,{sold}\n")
        wanted.append(whole * E8 + fraction)
    found = parse_trades("".join(lines).encode(), USD_M)
    assert found.price.tolist() == wanted
    assert found.id.tolist() == [whole for whole, *_ in numbers]


def test_pages_of_the_api(shared_data):
    page = json.loads(
        (shared_data / "exchange_2026" / "um_aggTrades_BTCUSDT_limit3.json").read_text()
    )
    found = parse_trade_rows(page, USD_M_AGGREGATES)
    assert found.id.tolist() == [3477868380, 3477868381, 3477868382]
    assert found.quantity.tolist() == [200000, 1400000, 1500000]  # q, which has what nq leaves out
    assert found.last_id.tolist() == [8153634282, 8153634283, 8153634285]
    assert found.is_buyer_maker.tolist() == [True, False, True]
    row = {"id": 5, "price": "34161.6", "qty": "3", "baseQty": "0.00878179", "time": 1698364800000}
    assert parse_trade_rows([row | {"isBuyerMaker": True}], COIN_M).quote.tolist() == [878179]
    with pytest.raises(ValueError, match=r"row 1 has no isBuyerMaker \(side\)"):
        parse_trade_rows([row], COIN_M)
    assert len(parse_trade_rows([], SPOT)) == 0
    bad = [row | {"isBuyerMaker": True}, row | {"isBuyerMaker": True, "price": "n/a"}]
    with pytest.raises(ValueError, match="row 2, column price: 'n/a' is no number"):
        parse_trade_rows(bad, COIN_M)


def test_files_as_they_were_quoted(shared_data):
    folder = shared_data / "exchange_2026" / "archive_rows"
    zero = (folder / "um_aggTrades_2023-05_zero_quantity_issue342.csv").read_bytes()
    found = parse_trades(zero, USD_M_AGGREGATES)
    assert np.count_nonzero(found.quantity) == 0
    assert found.price.tolist() == [186842000000, 179436000000, 179441000000, 179444000000]
