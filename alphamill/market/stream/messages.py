"""What a websocket of streams says, read: bars, replies, farewells, and what is none of them.

Sources: "Kline/Candlestick Streams" of Spot, USD-M and COIN-M, "Continuous Contract Kline" of both
futures, "Live Subscribing/Unsubscribing to streams"; frames recorded in 2021, 2022 and 2026.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from alphamill import grid
from alphamill.frames import KLINE_FIELDS, KLINES, Interval, is_symbol

_MICROSECONDS_ABOVE = 10**14
_INTERVALS = frozenset(Interval)
# A part may exceed its whole by the rounding of two printed numbers, and by no more.
_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class StreamBar:
    """A bar as a stream tells it; the numbers equal those of REST to the bit.

    open_ms, close_ms: UTC epoch ms of its first and its last millisecond. closed: whether it is
    final; else it is what had been traded by then. event_ms: the exchange's clock when it was told.
    first_id, last_id: of its trades, -1 if there was none; futures leave ids out.
    """

    symbol: str
    interval: Interval
    open_ms: int
    close_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float
    trades: int
    taker_buy_base: float
    taker_buy_quote: float
    closed: bool
    event_ms: int
    first_id: int = -1
    last_id: int = -1

    @property
    def end_ms(self) -> int:
        """Where the next bar opens."""
        return self.close_ms + 1

    @property
    def values(self) -> tuple[float, ...]:
        """In the order of KLINE_FIELDS."""
        return tuple(getattr(self, name) for name in KLINE_FIELDS)


@dataclass(frozen=True, slots=True)
class Reply:
    """To a command. error: the exchange's code and words, None if it was done."""

    ident: int | None
    error: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Farewell:
    """The server is about to end the connection; no time until then is promised."""

    event_ms: int


@dataclass(frozen=True, slots=True)
class Other:
    """An event that is none of ours, by its own name; "unnamed" if it has none."""

    kind: str
    event_ms: int = 0


@dataclass(frozen=True, slots=True)
class NotBelieved:
    """A message that cannot be read, or says what cannot be true, and why."""

    reason: str


Message = StreamBar | Reply | Farewell | Other | NotBelieved


class _Kline(msgspec.Struct, kw_only=True):
    t: int
    T: int
    s: str = ""
    i: str
    f: int
    L: int
    o: float
    c: float
    h: float
    l: float  # noqa: E741 - the exchange's letters
    v: float
    n: int
    x: bool
    q: float
    V: float
    Q: float


class _Event(msgspec.Struct, kw_only=True):
    e: str = ""
    E: int = 0
    s: str = ""
    ps: str = ""  # of a continuous kline: the pair, and what kind of contract
    ct: str = ""
    k: _Kline | None = None


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Frame(_Event, kw_only=True):
    stream: str = ""
    data: _Event | list[Any] | None = None
    result: Any = msgspec.UNSET
    error: _Error | None = None
    code: int | None = None  # a refusal in the API's form
    msg: str = ""
    id: Any = None


# Not strict: a number may be a string, which is read as Python's float() reads it.
_DECODER = msgspec.json.Decoder(_Frame, strict=False)
_KLINE_EVENTS = frozenset({"kline", "continuous_kline"})


def read_message(text: str | bytes) -> Message:
    """One message, of a raw or of a combined stream; never raises."""
    try:
        frame = _DECODER.decode(text)
    except msgspec.ValidationError as error:
        return _foreign(text, str(error))
    except (msgspec.DecodeError, UnicodeError) as error:
        return NotBelieved(f"not JSON: {error}")
    reply = _read_reply(frame)
    if reply is not None:
        return reply
    if isinstance(frame.data, list):
        kinds = {str(one.get("e", "unnamed")) for one in frame.data if isinstance(one, dict)}
        return Other("+".join(sorted(kinds)) or "unnamed")
    return _read_event(frame if frame.data is None else frame.data, frame.stream)


def _read_reply(frame: _Frame) -> Reply | None:
    ident = frame.id if isinstance(frame.id, int) and not isinstance(frame.id, bool) else None
    if frame.error is not None:
        return Reply(ident, (frame.error.code, frame.error.msg))
    if frame.code is not None and not frame.e:
        return Reply(ident, (frame.code, frame.msg))
    return Reply(ident) if frame.result is not msgspec.UNSET else None


def _read_event(event: _Event, stream: str) -> Message:
    if event.e == "serverShutdown":
        return Farewell(_ms(event.E))
    if event.e not in _KLINE_EVENTS:
        return Other(event.e or "unnamed", _ms(event.E))
    if event.k is None:
        return NotBelieved(f"{event.e} without a bar")
    symbol = event.s
    if event.e == "continuous_kline":
        if event.ct != "PERPETUAL":  # no symbol's own bars
            return Other(event.e, _ms(event.E))
        # On COIN-M, whose pairs end in USD, the perpetual bears another name than its pair.
        symbol = f"{event.ps}_PERP" if event.ps.endswith("USD") else event.ps
    return _believed(event.k, symbol, _ms(event.E), stream)


def _believed(k: _Kline, symbol: str, event_ms: int, stream: str) -> Message:
    if not is_symbol(symbol) or (k.s and k.s != symbol):
        return NotBelieved(f"a bar of {k.s or symbol!r} in an event of {symbol!r}")
    if k.i not in _INTERVALS:
        return NotBelieved(f"{symbol}: interval {k.i!r}")
    bar = StreamBar(
        symbol=symbol,
        interval=Interval(k.i),
        open_ms=_ms(k.t),
        close_ms=_ms(k.T),
        open=k.o,
        high=k.h,
        low=k.l,
        close=k.c,
        volume=k.v,
        quote_volume=k.q,
        trades=k.n,
        taker_buy_base=k.V,
        taker_buy_quote=k.Q,
        closed=k.x,
        event_ms=event_ms,
        first_id=k.f,
        last_id=k.L,
    )
    if "@kline_" in stream and stream != stream_name(symbol, bar.interval):
        return NotBelieved(f"a bar of {symbol} {k.i} on stream {stream!r}")
    fault = _fault(bar)
    return NotBelieved(f"{symbol} {k.i} {bar.open_ms}: {fault}") if fault else bar


def _fault(bar: StreamBar) -> str:
    """What cannot be true of the bar, "" if all can."""
    if not all(map(math.isfinite, bar.values)):
        return "a number that is not finite"
    least = min(bar.volume, bar.quote_volume, bar.taker_buy_base, bar.taker_buy_quote, bar.trades)
    fault = ""
    if bar.low <= 0:
        fault = "a price that is not above 0"
    elif not bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high:
        fault = "open or close outside of low and high"
    elif least < 0:
        fault = "an amount below 0"
    elif bar.taker_buy_base > bar.volume * (1 + _SLACK):
        fault = "takers bought more than was traded"
    elif bar.taker_buy_quote > bar.quote_volume * (1 + _SLACK):
        fault = "takers paid more than was paid"
    return fault or _fault_of_times(bar)


def _fault_of_times(bar: StreamBar) -> str:
    try:
        if bar.open_ms < 0 or grid.floor_ms(bar.interval, bar.open_ms) != bar.open_ms:
            return "no bar opens then"
        if grid.next_ms(bar.interval, bar.open_ms) != bar.end_ms:
            return "its end is not where its interval ends"
    except (ValueError, OverflowError, OSError):  # a month past the year 9999
        return "no bar opens then"
    if bar.closed and bar.event_ms < bar.close_ms:
        return "closed before its end"
    return ""


def _foreign(text: str | bytes, why: str) -> Message:
    """JSON that does not fit: of another kind of event, or a kline that is wrong."""
    frame = msgspec.json.decode(text)
    event = frame.get("data", frame) if isinstance(frame, dict) else frame
    kind = event.get("e", "unnamed") if isinstance(event, dict) else None
    if isinstance(kind, str) and kind not in _KLINE_EVENTS and "k" not in event:
        return Other(kind)
    return NotBelieved(why)


def _ms(time: int) -> int:
    return time // 1000 if time >= _MICROSECONDS_ABOVE else time


def stream_name(symbol: str, interval: Interval) -> str:
    """As the exchange spells it; in upper case it would be acknowledged and silent."""
    return f"{symbol.lower()}@kline_{interval.value}"


def klines_of(bars: list[StreamBar]) -> pa.Table:
    """KLINES of closed bars of one symbol and interval; ValueError for one that is running.

    In order of time, each bar once; of two for the same time the later in the list.
    """
    if any(not bar.closed for bar in bars):
        raise ValueError("a bar that is still running is no kline")
    last = {bar.open_ms: bar for bar in bars}
    ordered = [last[open_ms] for open_ms in sorted(last)]
    names = {"open_time": "open_ms", "close_time": "close_ms"}
    columns = [
        pa.array([getattr(bar, names.get(field.name, field.name)) for bar in ordered], field.type)
        for field in KLINES
    ]
    return pa.Table.from_arrays(columns, schema=KLINES)
