"""`--with`: what futures have beside their bars."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

from alphamill.factors.wide import wide_kinds
from alphamill.frames import METRICS_FROM, Market, Wide


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
    help=f"Of futures: fetch these too, and have their fields: {', '.join(Wide)}.",
)


def checked_wide(
    wide: tuple[Wide, ...], market: Market, start_ms: int, end_ms: int
) -> tuple[Wide, ...]:
    """The kinds, if the market has them in that range; says it where they begin later.

    Raises click.UsageError for spot, and for metrics of before there were any.
    """
    if wide and not market.has_funding:
        cure = "ask for futures with --market um or cm, or leave --with out"
        raise click.UsageError(f"spot has no {', '.join(wide)}: {cure}")
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
        futures = "" if market.has_funding else " --market um (spot has none of it)"
        raise click.UsageError(
            f"{text} names {', '.join(which)}: ask for it --with {','.join(lacks)}{futures}"
        )
