"""How factors of one run are measured, where that differs from the settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import click

from alphamill.settings import Settings
from producers import options

_WEIGHTINGS = ("rank", "quantile", "zscore")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was asked for; None: as the settings have it."""

    horizon: int | None = None
    weighting: str | None = None
    quantiles: int | None = None
    taker_bps: float | None = None

    def over(self, settings: Settings) -> Settings:
        """The settings with what was asked for in their place; equal ones give equal run ids.

        Raises click.UsageError for a fee that is no number.
        """
        if self.taker_bps is not None and not math.isfinite(self.taker_bps):
            raise click.UsageError("--taker-bps must be a number")
        book = {"weighting": self.weighting, "quantiles": self.quantiles}
        parts = {
            "segments": settings.segments.model_copy(update=_given(horizon_bars=self.horizon)),
            "portfolio": settings.portfolio.model_copy(update=_given(**book)),
            "fees": settings.fees.model_copy(update=_given(taker_bps=self.taker_bps)),
        }
        return settings.model_copy(update=parts)


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


measure_options = options.gathered(
    "measured",
    Measured,
    click.option(
        "--horizon",
        type=click.IntRange(min=1),
        metavar="BARS",
        help="Bars a position is held; default: segments.horizon_bars.",
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
        "--taker-bps",
        type=click.FloatRange(min=0, max=10_000),
        metavar="BPS",
        help="Taker fee, one way; default: fees.taker_bps.",
    ),
)
