"""Which symbols a command is about: named, from a file, or the most traded of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from alphamill.frames import Interval, Market, is_symbol
from alphamill.market.kinds import Kind
from alphamill.market.universe import TopSymbols, said, top_symbols
from alphamill.settings import Settings
from alphamill.universe.record import Universe as MembersByMonth
from producers import options

_MOST = 2000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Universe:
    """Symbols as asked for; `chosen_symbols` reads them."""

    symbols: tuple[tuple[str, ...], ...]
    symbols_file: Path | None
    top: int | None
    quote: str
    include: tuple[tuple[Kind, ...], ...] = ()
    by_rule: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The symbols of a run, each once, in order; `top`: what --top took and passed over.

    universe: who belongs when, by --universe; `membership` says it in JSON values.
    """

    symbols: tuple[str, ...]
    top: TopSymbols | None = None
    universe: MembersByMonth | None = None
    membership: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What one JSON object of the command says of it."""
        said: dict[str, Any] = {} if self.top is None else {"top": self.top.to_dict()}
        return said if self.membership is None else said | {"universe": dict(self.membership)}


class _Kinds(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """One or more kinds of symbols, separated by commas."""

    name = "kind"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Kind, ...]:
        if isinstance(value, tuple):
            return value
        known = [kind.value for kind in Kind]
        for text in value.split(","):
            if text not in known:
                self.fail(f"{text!r} is not one of {' '.join(known)}", param, ctx)
        return tuple(Kind(text) for text in value.split(","))


rule_option = click.option(
    "--universe",
    "by_rule",
    metavar="RULE",
    help='Who belongs when, judged each month: "top:25 by median_30d(quote_volume), listed:90d".',
)
universe_options = options.gathered(
    "universe",
    Universe,
    click.argument("symbols", nargs=-1, type=options.Symbols()),
    click.option(
        "--symbols-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="One symbol a line; # begins a comment.",
    ),
    click.option(
        "--top",
        type=click.IntRange(1, _MOST),
        metavar="N",
        help="Add the N most traded coins of the last 24 hours.",
    ),
    click.option(
        "--quote",
        default="USDT",
        show_default=True,
        metavar="ASSET",
        help="What --top symbols are quoted in (USD on COIN-M).",
    ),
    click.option(
        "--include",
        type=_Kinds(),
        multiple=True,
        metavar="KIND[,...]",
        help=f"Take with --top what is no coin of its own too: {', '.join(Kind)}.",
    ),
    rule_option,
)


def members(
    settings: Settings, market: Market, universe: Universe, start_ms: int, end_ms: int
) -> Chosen:
    """As `chosen_symbols`; of a rule all that belong in any month, and when.

    Raises click.UsageError for symbols beside a rule, GiveUp where the lake lacks daily bars that
    the rule needs, with the command that brings them, and where a month has no member.
    """
    if universe.by_rule is None:
        return chosen_symbols(settings, market, universe)
    check_alone(universe)
    # Parquet, the exchange's client and Redis: who names symbols waits for none.
    from producers.submit import membership

    asked = membership.ask(settings, market, universe.by_rule, start_ms, end_ms)
    days = _day(start_ms), _day(end_ms - 1 + _DAY_MS)
    found = asked.resolved(membership.fetch_command(universe.by_rule, market, Interval.D1, *days))
    said = membership.described(found, asked)
    return Chosen(found.symbols, universe=found.universe, membership=said)


def check_alone(universe: Universe) -> None:
    """Raise click.UsageError for symbols, a file or --top beside a rule."""
    if any(universe.symbols) or universe.symbols_file or universe.top or universe.include:
        raise click.UsageError(
            "--universe says who belongs: name no symbols, --symbols-file, --top or --include "
            "beside it (a rule has include: and without: of its own)"
        )


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date().isoformat()


def chosen_symbols(settings: Settings, market: Market, universe: Universe) -> Chosen:
    """All of them; what --top took and what it passed over is told on stderr.

    What is named, also in a file, is taken as it is. Raises click.UsageError without any symbol,
    and for a line that is none.
    """
    symbols, top = list(options.flat(universe.symbols)), None
    if universe.by_rule is not None:
        raise click.UsageError("--universe goes with fetch, features, mine, evaluate and live")
    if universe.include and universe.top is None:
        raise click.UsageError("--include goes with --top: what is named is always taken")
    if universe.symbols_file is not None:
        symbols += read_symbols(universe.symbols_file)
    if universe.top is not None:
        top = _most_traded(settings, market, universe, universe.top)
        for line in _told(top):
            click.echo(line, err=True)
        symbols += top.symbols
    if not symbols:
        raise click.UsageError(
            "name symbols (BTCUSDT), --symbols-file FILE, --top N or --universe RULE"
        )
    return Chosen(tuple(dict.fromkeys(symbols)), top)


def _told(top: TopSymbols) -> list[str]:
    """What was taken and, a line a reason, what was passed over: how many, which, and the cure."""
    count = len(top.symbols)
    lines = [f"top {count} by 24 h volume in {top.quote}: {_some(top.symbols)}"]
    for reason, names in top.left_out.items():
        cure = f"; --include {reason} takes them" if reason in tuple(Kind) else ""
        lines.append(f"left out, {len(names)} {said(reason)}: {_some(names)}{cure}")
    return lines


def read_symbols(path: Path) -> list[str]:
    """The symbols of a file. Raises click.UsageError naming the line that is none."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 ({error}); save it as that") from error
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if not is_symbol(text):
            raise click.UsageError(f"{path}, line {number}: {options.misspelt(text)}")
        found.append(text)
    return found


def _some(symbols: Sequence[str]) -> str:
    more = f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""
    return ", ".join(symbols[:5]) + more


def _most_traded(settings: Settings, market: Market, universe: Universe, count: int) -> TopSymbols:
    # The clients of exchange and Redis: who names symbols waits for neither.
    from alphamill.redis_store import connect
    from producers.submit.listing import exchange_listing

    listing = exchange_listing(settings, market, connect(settings))
    include = {kind for kinds in universe.include for kind in kinds}
    return top_symbols(listing, universe.quote.upper(), count, include)
