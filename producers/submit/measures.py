"""How factors of one run are measured, where that differs from the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import click

from alphamill import evaluation
from alphamill.settings import Settings
from producers import options

_WEIGHTINGS = ("rank", "quantile", "zscore")
_MOST_HORIZONS = 12
_MOST_BPS = 10_000  # all that is traded


class Horizons(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """One or more numbers of bars, separated by commas: ascending, each once."""

    name = "bars"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",")]
        for word in words:
            if not (word.isascii() and word.isdigit() and len(word) < 7 and int(word)):
                self.fail(f"{word!r} is no number of bars from 1 on, as in 1,4,24", param, ctx)
        found = tuple(sorted({int(word) for word in words}))
        if len(found) > _MOST_HORIZONS:
            self.fail(f"{len(found)} horizons; at most {_MOST_HORIZONS} in one run", param, ctx)
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """What was asked for; None: as the settings have it."""

    horizon: tuple[int, ...] | None = None
    weighting: str | None = None
    quantiles: int | None = None
    band: float | None = None
    hold: int | None = None
    taker_bps: float | None = None
    maker_bps: float | None = None
    maker_frac: float | None = None
    spread_bps: float | None = None

    @property
    def horizons_bars(self) -> tuple[int, ...]:
        """As a run has them: () for a single one, which stands in its settings."""
        return self.horizon if self.horizon and len(self.horizon) > 1 else ()

    @property
    def one_horizon(self) -> Measured:
        """The same, of a command that judges. Raises click.UsageError for several horizons."""
        if self.horizons_bars:
            raise click.UsageError(
                "this takes one --horizon: what is searched for, or combined, is judged by one "
                "label; submit a run for each, or score what was found at several: alphamill "
                "evaluate --horizon"
            )
        return self

    def over(self, settings: Settings) -> Settings:
        """The settings with what was asked for in their place; equal ones give equal run ids.

        Raises click.UsageError for a fee that is no number, and for fees that pay for trading.
        """
        fees = {name: getattr(self, name) for name in ("taker_bps", "maker_bps", "maker_frac")}
        fees["spread_bps"] = self.spread_bps
        for name, value in fees.items():
            if value is not None and not math.isfinite(value):
                raise click.UsageError(f"--{name.replace('_', '-')} must be a number")
        charged = settings.fees.model_copy(update=_given(**fees))
        cost = evaluation.one_way_bps(charged)
        if not cost >= 0:
            raise click.UsageError(
                f"with these fees whoever trades is paid {-cost:g} bps: the rebate (--maker-bps, "
                "fees.maker_bps) on --maker-frac of what is traded is more than the rest costs"
            )
        if self.band is not None and not math.isfinite(self.band):
            raise click.UsageError("--band must be a number")
        book = {
            "weighting": self.weighting,
            "quantiles": self.quantiles,
            "band": self.band,
            "hold_bars": self.hold,
        }
        first = self.horizon[0] if self.horizon else None
        parts = {
            "segments": settings.segments.model_copy(update=_given(horizon_bars=first)),
            "portfolio": settings.portfolio.model_copy(update=_given(**book)),
            "fees": charged,
        }
        return settings.model_copy(update=parts)


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


measure_options = options.gathered(
    "measured",
    Measured,
    click.option(
        "--horizon",
        type=Horizons(),
        metavar="BARS[,BARS...]",
        help="Bars a position is held; default: segments.horizon_bars. evaluate takes several, "
        "each of which counts as trials: 1,4,24.",
    ),
    click.option(
        "--weighting",
        type=click.Choice(_WEIGHTINGS),
        help="Of the book across symbols; default: portfolio.weighting.",
    ),
    click.option(
        "--quantiles",
        type=click.IntRange(min=2),
        metavar="N",
        help="For --weighting quantile; default: portfolio.quantiles.",
    ),
    click.option(
        "--band",
        type=click.FloatRange(min=0, max=10),
        metavar="X",
        help="No trade within X average positions of the target; default: portfolio.band.",
    ),
    click.option(
        "--hold",
        type=click.IntRange(min=0, max=100_000),
        metavar="BARS",
        help="Least bars for which a decision is held, 0: the horizon; default: "
        "portfolio.hold_bars.",
    ),
    click.option(
        "--taker-bps",
        type=click.FloatRange(min=0, max=_MOST_BPS),
        metavar="BPS",
        help="Taker fee, one way; default: fees.taker_bps.",
    ),
    click.option(
        "--maker-bps",
        type=click.FloatRange(min=-_MOST_BPS, max=_MOST_BPS),
        metavar="BPS",
        help="Fee of an order that waited in the book, one way, below 0 a rebate; default: "
        "fees.maker_bps.",
    ),
    click.option(
        "--maker-frac",
        type=click.FloatRange(min=0, max=1),
        metavar="SHARE",
        help="Of the traded value, filled as maker, 0 to 1; default: fees.maker_frac.",
    ),
    click.option(
        "--spread-bps",
        type=click.FloatRange(min=0, max=_MOST_BPS),
        metavar="BPS",
        help="Half of the quoted spread, which takers pay; default: fees.spread_bps.",
    ),
)
