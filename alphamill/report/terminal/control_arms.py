"""What the control arms found, as tables: each figure beside what is asked of it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from alphamill import controls
from alphamill.report.terminal.tables import TextTable, empty_grid
from alphamill.report.values import NOTHING, VERDICT_STYLES, number, percent, plain, whole

# What alphamill must show. Power is asked of formulas at least so strong, in markets at least so
# large; elsewhere it is printed and not asked for.
DEMANDS = {
    "noise_called_frac_at_most": 0.05,
    "ks_p_at_least": 0.01,
    "alone_frac_at_least": 0.95,
    "kept_frac_at_least": 0.8,
    "too_fast_tradable_at_most": 0,
    "decoys_through_at_most": 0,
    "from_ic": 0.03,
    "from_symbols": 30,
    "from_bars": 8000,
}

_FROM = "from IC {from_ic} on and {from_symbols} symbols x {from_bars:,} bars".format(**DEMANDS)


class Lines:
    """A table of four columns that is filled line by line."""

    def __init__(self) -> None:
        self.table = TextTable(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        self.table.add_column("what", no_wrap=True)
        self.table.add_column("measured", justify="right", no_wrap=True)
        self.table.add_column("asked", min_width=12)
        self.table.add_column("how it is counted", style="dim", overflow="fold", min_width=24)

    def say(
        self, what: str, value: str, note: str, asked: str = "", good: bool | None = None
    ) -> None:
        """good: whether the demand is met; None where there is none, or nothing to say of it."""
        style = "" if good is None else "green" if good else "bold red"
        demand = (asked or NOTHING) + (" (missed)" if good is False else "")
        self.table.add(what, Text(value, style=style), demand, note)


def calibration_table(found: controls.Calibration, n_symbols: int, n_bars: int) -> Table:
    """Every figure of `calibrate`; n_symbols, n_bars: of each market."""
    lines = Lines()
    large = n_symbols >= DEMANDS["from_symbols"] and n_bars >= DEMANDS["from_bars"]
    if found.noise_markets:
        _say_noise(lines, found)
    for power in found.power:
        _say_power(lines, power, large)
    if found.called:
        lines.say(
            "factors called predictive",
            whole(found.called),
            f"mined markets with something planted: {found.planted_markets}",
        )
        lines.say(
            "  of them false",
            percent(found.false_discovery_rate),
            f"rank correlation below {controls.FALSE_BELOW} with everything planted",
        )
    if found.decoys:
        lines.say(
            "decoys let through",
            f"{found.decoys_through} of {found.decoys}",
            "look-ahead and scale artefacts that were measured as factors",
            "none",
            found.decoys_through == 0,
        )
    if found.traps:
        lines.say(
            "survivorship traps seen through",
            f"{found.traps_seen_through} of {found.traps}",
            "buying what has fallen is rejected where the delisted coins are in; of survivors "
            f"alone it is called predictive in {found.traps_baited} of {found.traps}",
            "all",
            found.traps_seen_through == found.traps,
        )
    return lines.table


def _say_noise(lines: Lines, found: controls.Calibration) -> None:
    most, level = DEMANDS["noise_called_frac_at_most"], DEMANDS["ks_p_at_least"]
    lines.say(
        "noise markets with a false claim",
        f"{found.noise_called} of {found.noise_markets}",
        "anything called predictive; true share below "
        f"{percent(found.noise_called_upper_frac)} (95 %)",
        f"at most {percent(most, 0)}",
        found.noise_called_frac <= most,
    )
    lines.say(
        "p-values uniform on noise",
        number(found.ks_p, 3),
        "p of Kolmogorov and Smirnov, one p-value a market (its first trial's on validation)",
        f"at least {level}",
        None if found.ks_p != found.ks_p else found.ks_p >= level,
    )


def _say_power(lines: Lines, power: controls.Power, large: bool) -> None:
    asked = large and power.target_ic >= DEMANDS["from_ic"]
    alone, kept = DEMANDS["alone_frac_at_least"], DEMANDS["kept_frac_at_least"]
    failed = ", ".join(f"{name} {count}" for name, count in sorted(power.failed_alone.items()))
    lines.say(
        f"IC {power.target_ic:g}, judged alone",
        _share(power.predictive_alone, power.planted),
        "planted formulas called predictive as the only trial"
        + (f"; what rejected the others: {failed}" if failed else "")
        + ("" if asked else "; power is asked for " + _FROM),
        f"at least {percent(alone, 0)}" if asked else "",
        power.alone_frac >= alone if asked else None,
    )
    if power.mined:
        lines.say(
            "  mined: met by a trial",
            f"{power.met} of {power.mined}",
            f"the formula in other words: a trial correlates at least {controls.MEETS}",
        )
        lines.say(
            "  mined: kept, of those met",
            _share(power.kept, power.met),
            f"a factor called predictive correlates at least {controls.KEEPS}",
            f"at least {percent(kept, 0)}" if asked and power.met else "",
            power.kept_frac >= kept if asked and power.met else None,
        )
        lines.say(
            "  mined: found, of all", f"{power.found} of {power.mined}", "the same, met or not"
        )
    lines.say(
        "  tradable, of those too fast",
        f"{power.too_fast_tradable} of {power.too_fast}",
        "planted formulas that earn less than their trades cost; alone or mined",
        "none",
        power.too_fast_tradable == 0 if power.too_fast else None,
    )


def _share(part: int, of: int) -> str:
    return f"{part} of {of}" + (f" ({percent(part / of, 0)})" if of else "")


def random_table(rows: Sequence[tuple[str, controls.Arm]]) -> Table:
    """One search a row: its name and what it came to."""
    table = TextTable(box=None, padding=(0, 2, 0, 0))
    table.add_column("search", overflow="fold")
    for name in ("bar", "trials", "|t| disc", "best t val", "finalists", "predictive", "tradable"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, arm in rows:
        table.add(
            plain(name, 60),
            arm.interval,
            whole(arm.trials),
            number(arm.median_abs_t, 2),
            number(arm.best_validation_t, 2, signed=True),
            whole(arm.finalists),
            whole(arm.predictive),
            whole(arm.tradable),
        )
    return table


def recovered_table(matches: Sequence[controls.Match]) -> Table:
    """A planted expression, and beneath it the factor that came nearest."""
    table = empty_grid("", ">", "", "", gap=2)
    for match in matches:
        mark = Text("found", "green") if match.found else Text("not found", "yellow")
        table.add(mark, "", Text("planted", style="dim"), plain(match.planted))
        nearest = plain(match.nearest) if match.nearest else "no factor to compare"
        verdict = Text(match.verdict, VERDICT_STYLES[match.verdict]) if match.verdict else "-"
        table.add("", number(match.correlation, 2, signed=True), verdict, nearest)
    return table
