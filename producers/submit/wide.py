"""`--with`: what there is beside bars."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

from alphamill.factors.wide import wide_kinds
from alphamill.frames import FLOW_UP_TO, METRICS_FROM, Interval, Market, Wide, has_flow


class _Kinds(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """One or more kinds of data, separated by commas."""

    name = "kind"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Wide, ...]:
        if isinstance(value, tuple):
            return value
        known = [kind.value for kind in Wide]
        for text in value.split(","):
            if text not in known:
                self.fail(f"{text!r} is not one of {' '.join(known)}", param, ctx)
        return tuple(kind for kind in Wide if kind.value in value.split(","))


with_option = click.option(
    "--with",
    "wide",
    type=_Kinds(),
    default=(),
    metavar="KIND[,...]",
    help="Bring these too, and have their fields. Of futures: "
    f"{', '.join(kind for kind in Wide if kind is not Wide.FLOW)}. Of any market, bars up to "
    f"{FLOW_UP_TO}: flow, what only a bar's own trades tell; a file of trades a symbol and day.",
)


def checked_wide(
    wide: tuple[Wide, ...],
    market: Market,
    intervals: Collection[Interval],
    start_ms: int,
    end_ms: int,
) -> tuple[Wide, ...]:
    """The kinds, if the market has them in that range; says it where they begin later.

    Raises click.UsageError for what spot has not, for flow of bars that are too long for it, and
    for metrics of before there were any.
    """
    if lacks := [kind for kind in wide if not kind.is_of(market)]:
        cure = "ask for futures with --market um or cm, or leave --with out"
        if Wide.FLOW in wide:
            cure = "ask for futures with --market um or cm, or --with flow alone"
        raise click.UsageError(f"spot has no {', '.join(lacks)}: {cure}")
    long = [interval for interval in intervals if not has_flow(interval)]
    if Wide.FLOW in wide and long:
        raise click.UsageError(
            f"bars of {', '.join(long)} have no flow, which is made up to {FLOW_UP_TO}: ask for "
            "shorter ones with --interval, or without flow"
        )
    if Wide.METRICS in wide:
        if end_ms <= METRICS_FROM.start_ms:
            cure = "end later, or ask without metrics"
            raise click.UsageError(f"the exchange has no metrics before {METRICS_FROM}: {cure}")
        if start_ms < METRICS_FROM.start_ms:
            click.echo(f"metrics begin in {METRICS_FROM}; there are none before", err=True)
    return wide


def check_fields(
    text: str, fields: Collection[str], wide: Collection[Wide], market: Market
) -> None:
    """Raise click.UsageError for an expression whose fields the run was not asked to have."""
    lacks = [kind for kind in wide_kinds(fields) if kind not in wide]
    if lacks:
        which = [name for name in fields if wide_kinds((name,)) and wide_kinds((name,))[0] in lacks]
        of_futures = not all(kind.is_of(market) for kind in lacks)
        futures = " --market um (spot has none of it)" if of_futures else ""
        raise click.UsageError(
            f"{text} names {', '.join(which)}: ask for it --with {','.join(lacks)}{futures}"
        )
