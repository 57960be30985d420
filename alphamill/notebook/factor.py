"""`am.factor(text)`: an expression, its values on a panel, and how good they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, overload

import pandas as pd

from alphamill import frames
from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Rebalancing, Scorer, one_way_bps
from alphamill.factors import compute
from alphamill.factors.fields import BASE_FIELDS, adv_bars
from alphamill.factors.vocabulary import FIELD_UNITS
from alphamill.factors.wide import WIDE_FIELDS
from alphamill.frames import FloatArray
from alphamill.language import GIVEN_GROUPS, read_given
from alphamill.notebook.horizons import HorizonScores, horizons_asked
from alphamill.notebook.names import unknown
from alphamill.notebook.panel import wide
from alphamill.notebook.score import PlottedScore, plotted
from alphamill.settings.research import FeeSettings, PortfolioSettings, SegmentSettings

Groups = Mapping[str, Mapping[str, str]]
_SEGMENTS, _PORTFOLIO, _FEES = SegmentSettings(), PortfolioSettings(), FeeSettings()


class GivenFactor:
    """An expression of the factor language, read as `alphamill evaluate` reads it.

    text: canonical. hash: as in a run's tables. fields: names in it. lookback_bars: earlier bars
    that a value needs; the first so many bars have none. unit: "ratio", "price", ...

        factor = am.factor("rank(-ts_zscore(close, 24)) + rank(rsi_14)")
        factor.values(panel)                   # open_time x symbol
        factor.evaluate(panel, horizon=4)      # the Score; .plot() draws it
    """

    def __init__(self, text: str) -> None:
        self._factor = read_given(text)
        self.text = self._factor.text
        self.hash = self._factor.hash
        self.fields = self._factor.fields
        self.lookback_bars = self._factor.lookback_bars
        self.unit = self._factor.unit

    def values(self, panel: frames.Panel, groups: Groups | None = None) -> pd.DataFrame:
        """Its values: float64, rows open_time (UTC, of the bar at whose close it is known),

        columns symbol. Finite or NaN; row t depends on rows up to t alone.
        groups: group -> symbol -> label; by default all symbols are one sector, industry and
        subindustry, as in `alphamill evaluate`. Raises GiveUp for a field that the panel lacks.
        """
        return wide(panel, self._values(panel, groups))

    @overload
    def evaluate(
        self,
        panel: frames.Panel,
        horizon: int = ...,
        *,
        entry_lag: int = ...,
        fee_bps: float | None = ...,
        direction: Literal[-1, 1] | None = ...,
        weighting: Literal["rank", "quantile", "zscore"] = ...,
        quantiles: int = ...,
        band: float = ...,
        hold_bars: int = ...,
        groups: Groups | None = ...,
    ) -> PlottedScore: ...
    @overload
    def evaluate(
        self,
        panel: frames.Panel,
        horizon: Sequence[int],
        *,
        entry_lag: int = ...,
        fee_bps: float | None = ...,
        direction: Literal[-1, 1] | None = ...,
        weighting: Literal["rank", "quantile", "zscore"] = ...,
        quantiles: int = ...,
        band: float = ...,
        hold_bars: int = ...,
        groups: Groups | None = ...,
    ) -> HorizonScores: ...
    def evaluate(
        self,
        panel: frames.Panel,
        horizon: int | Sequence[int] = _SEGMENTS.horizon_bars,
        *,
        entry_lag: int = _SEGMENTS.entry_lag_bars,
        fee_bps: float | None = None,
        direction: Literal[-1, 1] | None = None,
        weighting: Literal["rank", "quantile", "zscore"] = _PORTFOLIO.weighting,
        quantiles: int = _PORTFOLIO.quantiles,
        band: float = _PORTFOLIO.band,
        hold_bars: int = _PORTFOLIO.hold_bars,
        groups: Groups | None = None,
    ) -> PlottedScore | HorizonScores:
        """Its Score on the whole panel: RankIC and t, decay, quantiles, a book after costs.

        horizon, entry_lag: in bars: a signal at the close of bar t trades at the open of bar
        t + entry_lag and is held for `horizon`. Several, [1, 4, 24], give a Score each, of which
        `.to_pandas()` makes one table, and each counts as a trial. fee_bps: one way, with half of
        the spread; by default what a run charges without settings of its own (11). direction: +1 or
        -1 if it was found on other bars; None chooses it here, which makes every figure in-sample.
        weighting, quantiles, band, hold_bars: of the book, see `[portfolio]` in
        alphamill.example.toml. The figures are those of `alphamill evaluate` on the same bars.
        Raises GiveUp for a panel that lacks a field.
        """
        values = self._values(panel, groups)
        for needed in ("open", "close"):
            if needed not in panel:
                raise unknown("field", needed, panel, " in the panel, to trade at")
        several = isinstance(horizon, Sequence)
        horizons = horizons_asked(horizon if isinstance(horizon, Sequence) else [horizon])
        if entry_lag < 0:
            raise GiveUp(f"entry_lag {entry_lag} must be at least 0")
        try:
            rebalancing = Rebalancing(band, hold_bars)
        except ValueError as error:
            raise GiveUp(str(error)) from error
        scores = []
        for horizon_bars in horizons:
            scorer = Scorer(
                panel,
                horizon_bars=horizon_bars,
                entry_lag_bars=entry_lag,
                skip_bars=0,
                fee_bps=one_way_bps(_FEES) if fee_bps is None else fee_bps,
                bars_per_year=panel.interval.bars_per_year,
                weighting=weighting,
                quantiles=quantiles,
                participation_frac=_PORTFOLIO.participation_frac,
                rebalancing=rebalancing,
            )
            scores.append(plotted(self._factor, panel, scorer, values, direction))
        return HorizonScores(scores) if several else scores[0]

    def _values(self, panel: frames.Panel, groups: Groups | None) -> FloatArray:
        if not isinstance(panel, frames.Panel):
            raise GiveUp(
                "give a Panel: am.lake(path).panel(symbols, interval), or "
                "am.Panel.from_pandas(frame) of your own"
            )
        for column in self._factor.columns:
            if column not in panel and not (column == "quote_volume" and "vwap" in self.fields):
                cure = _cure(column)
                raise GiveUp(f"{unknown('field', column, panel, ' in the panel').reason}{cure}")
        tables = {name: dict.fromkeys(panel.symbols, "all") for name in GIVEN_GROUPS}
        tables |= {name: dict(table) for name, table in (groups or {}).items()}
        labels = {
            name: [table.get(symbol) for symbol in panel.symbols] for name, table in tables.items()
        }
        return compute(self._factor, panel, labels)

    def _repr_html_(self) -> str:
        from markupsafe import escape

        return f"<code>{escape(self.text)}</code>"

    def __repr__(self) -> str:
        return f"<factor {self.text}>"


def _cure(column: str) -> str:
    columns = {*FIELD_UNITS, *WIDE_FIELDS, *BASE_FIELDS}
    known = column in columns or adv_bars(column) is not None
    return f"; ask for it: lake.panel(..., fields=[{column!r}])" if known else ""


def factor(text: str) -> GivenFactor:
    """The factor that an expression says, with the names of `alphamill operators`.

    Raises FactorError with the position, what was expected there and the nearest valid form.
    """
    return GivenFactor(text)


__all__ = ["FactorError", "GivenFactor", "factor"]
