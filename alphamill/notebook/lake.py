"""`am.lake(path)`: what a lake has, its bars as a frame, and panels of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from alphamill.errors import GiveUp
from alphamill.evaluation.costs import FUNDING
from alphamill.factors import compute
from alphamill.factors.fields import BASE_FIELDS, adv_bars
from alphamill.factors.wide import WIDE_FIELDS, wide_fields_of, wide_kinds
from alphamill.frames import KLINE_FIELDS, Interval, Market
from alphamill.indicators import indicator_names
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, Series, read_klines
from alphamill.lake.layout import month_of, series_of
from alphamill.lake.listings import symbol_of
from alphamill.language import read_given
from alphamill.notebook.names import Moment, epoch_ms, interval_named, listed, market_named, unknown
from alphamill.notebook.panel import Panel
from alphamill.settings import load_settings
from alphamill.stages.panel import PanelDeps, panel_in_memory

_EVER = (0, 4_102_444_800_000)  # to 2100: every bar that a lake may have


class LakeReader:
    """A lake, read: nothing is fetched or written.

    uri: a folder or s3://bucket/prefix. A symbol, interval or field that is not there raises
    GiveUp, which names the nearest and what there is.

        lake = am.lake("~/.alphamill/lake")
        lake.symbols("1h")                                       # ['BTCUSDT', 'ETHUSDT', ...]
        bars = lake.klines(["BTCUSDT", "ETHUSDT"], "1h")         # a frame, a row a bar
        panel = lake.panel(["BTCUSDT", "ETHUSDT"], "1h", "2024-01-01", "2025-01-01", ["rsi_14"])
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.store = Lake(uri)

    def intervals(self, market: str | Market = Market.SPOT) -> list[str]:
        """Intervals of which the lake has bars, the shortest first."""
        there = {series.interval for series in self._series(market_named(market))}
        return [interval.value for interval in Interval if interval in there]

    def symbols(self, interval: str | Interval, market: str | Market = Market.SPOT) -> list[str]:
        """Symbols of which the lake has bars of that length, by name."""
        wanted, of = interval_named(interval), market_named(market)
        found = sorted({one.symbol for one in self._series(of) if one.interval is wanted})
        if not found:
            raise unknown("interval", wanted, self.intervals(of), f" on {of} in {self.uri}")
        return found

    def klines(
        self,
        symbols: str | Sequence[str],
        interval: str | Interval,
        start: Moment | None = None,
        end: Moment | None = None,
        *,
        market: str | Market = Market.SPOT,
    ) -> pd.DataFrame:
        """Bars of the symbols: a row a bar, by symbol and time; nothing is filled.

        Columns: symbol, open_time and close_time (UTC), open, high, low, close (quote per base),
        volume (base units), quote_volume, trades, taker_buy_base, taker_buy_quote.
        start, end: open times, start included and end excluded; default: all that there is.
        "2024-01-31", a date, a datetime (without a zone: UTC) or epoch milliseconds.
        """
        of, length = market_named(market), interval_named(interval)
        start_ms, end_ms = self._span(start, end)
        tables = []
        for symbol in self._known(listed(symbols), length, of):
            first, last = self._within(Series(of, symbol, length), start_ms, end_ms)
            frame: pd.DataFrame = read_klines(
                self.store, of, symbol, length, first, last
            ).to_pandas()
            frame.insert(0, "symbol", symbol)
            tables.append(frame)
        frames = [one for one in tables if len(one)] or tables[:1]
        bars: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return bars

    def panel(
        self,
        symbols: str | Sequence[str],
        interval: str | Interval,
        start: Moment | None = None,
        end: Moment | None = None,
        fields: Sequence[str] = (),
        *,
        market: str | Market = Market.SPOT,
    ) -> Panel:
        """The symbols on one regular grid, as a run's panel has them: float64 (bars, symbols).

        It always holds the bars' own fields (open, high, low, close, volume, quote_volume, trades,
        taker_buy_base, taker_buy_quote; on futures funding_rate, a fraction of the position).
        fields: further ones, by the names of the factor language: rsi_14, vwap, adv20, returns_1d,
        on futures open_interest, premium and the like, up to 1h realised_variance and other flow
        of a bar's trades, of what the lake has
        (`lake.fields(interval)` lists them). Indicators are computed here, from bars before `start`
        too where the lake has them. start, end: as in `klines`. Columns are the symbols by name;
        one under which two coins traded is two, the later as "LUNAUSDT@2022-05-31".
        """
        of, length = market_named(market), interval_named(interval)
        names = self._known(listed(symbols), length, of)
        start_ms, end_ms = self._span(start, end)
        spans = [self._within(Series(of, name, length), start_ms, end_ms) for name in names]
        start_ms, end_ms = min(first for first, _ in spans), max(last for _, last in spans)
        wanted = [fields] if isinstance(fields, str) else list(fields)
        stored = [*KLINE_FIELDS, *([FUNDING] if of.has_funding else [])]
        indicators = indicator_names(length)
        for name in wanted:
            known = (*stored, *indicators, *BASE_FIELDS, *wide_fields_of(of, length))
            if name not in known and adv_bars(name) is None:
                raise unknown("field", name, self.fields(length, of), f" at {length} on {of}")
        computed = [name for name in wanted if name in indicators or name in WIDE_FIELDS]
        spec = RunSpec(RunKind.EVALUATE, self.uri, of, names, (length,), start_ms, end_ms)
        spec = replace(spec, wide=wide_kinds(wanted))
        made = panel_in_memory(length, PanelDeps(self.store, spec), [*stored, *computed])
        there = {symbol_of(name) for name in made.symbols}
        if absent := [name for name in names if name not in there]:
            raise GiveUp(f"no {length} bar of {', '.join(absent)} in that range: leave them out")
        values = dict(made.fields)
        for name in wanted:  # vwap and adv20 follow from the columns
            if name not in values:
                values[name] = compute(read_given(name), made)
        return Panel(made.interval, made.times_ms, made.symbols, values)

    def fields(self, interval: str | Interval, market: str | Market = Market.SPOT) -> list[str]:
        """What `panel` takes and expressions may name; adv20 stands for any number of bars."""
        of, length = market_named(market), interval_named(interval)
        beside = [*([FUNDING] if of.has_funding else []), *wide_fields_of(of, length)]
        names = [*BASE_FIELDS, "adv20", *beside, *indicator_names(length)]
        return list(dict.fromkeys(names))

    def __repr__(self) -> str:
        return f"<lake at {self.uri}>"

    def _series(self, market: Market) -> list[Series]:
        keys = self.store.list(f"klines/market={market.value}")
        return [series for series in dict.fromkeys(map(series_of, keys)) if series]

    def _known(
        self, symbols: tuple[str, ...], interval: Interval, market: Market
    ) -> tuple[str, ...]:
        """The symbols, if the lake has bars of all. Raises GiveUp for the first that it lacks."""
        there = self.symbols(interval, market)
        for symbol in symbols:
            if symbol not in there:
                where = f" at {interval} on {market} in {self.uri}"
                raise unknown("symbol", symbol, there, where)
        return symbols

    def _span(self, start: Moment | None, end: Moment | None) -> tuple[int, int]:
        start_ms = _EVER[0] if start is None else epoch_ms(start)
        end_ms = _EVER[1] if end is None else epoch_ms(end)
        if end_ms <= start_ms:
            raise GiveUp("end must come after start (it is excluded)")
        return start_ms, end_ms

    def _within(self, series: Series, start_ms: int, end_ms: int) -> tuple[int, int]:
        """The range asked for, cut to the months that the lake has of a series."""
        keys = self.store.list(series.folder(series.kind))
        months = [month for month in map(month_of, keys) if month]
        first, last = min(months).start_ms, max(months).end_ms
        start_ms = min(max(start_ms, first), last)
        return start_ms, max(start_ms, min(end_ms, last))


def open_lake(uri: str | Path | None = None) -> LakeReader:
    """The lake in that folder, or at s3://bucket/prefix; None: the lake of the settings.

    "~" is the home folder. Raises GiveUp for a folder that is not there.
    """
    if uri is None:
        uri = load_settings().lake_uri
    if isinstance(uri, Path) or not uri.startswith("s3://"):
        folder = Path(uri).expanduser().resolve()
        if not folder.is_dir():
            raise GiveUp(
                f"no lake at {folder}: name the folder that holds klines/ and runs/, or fill one "
                "with alphamill fetch"
            )
        uri = str(folder)
    return LakeReader(uri.rstrip("/"))
