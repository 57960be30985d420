"""The operators, one record each. Parser, checker, prompts and the manual all read these records.

What they share: a value is NaN until its window is full and while a NaN is in the window; no
operator returns an infinity; comparison with NaN is NaN; true is 1 and false 0; operators over all
symbols leave NaN symbols out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from alphamill.factors.units import UnitRule


class Kind(StrEnum):
    """What an argument must be."""

    SERIES = "series"  # any expression
    BARS = "bars"  # a literal whole number of bars
    NUMBER = "number"  # a literal number
    GROUP = "group"  # the name of a group table


class Family(StrEnum):
    """What an operator looks at for one value."""

    BAR = "one bar of one symbol"
    WINDOW = "a window of one symbol, ending at this bar"
    CROSS = "all symbols at one bar"
    GROUPED = "the symbols of one group at one bar"


class History(StrEnum):
    """How many earlier bars an operator's literals ask for."""

    NONE = "none"
    WINDOW = "bars - 1"
    LAG = "bars"
    LAGGED_WINDOW = "bars - 1 + lag"


@dataclass(frozen=True, slots=True)
class Param:
    """An argument: its kind, range (numbers and bars) and default (None: it must be given)."""

    name: str
    kind: Kind = Kind.SERIES
    low: float = 1
    high: float = float("inf")
    default: float | None = None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of the language."""

    name: str
    params: tuple[Param, ...]
    family: Family
    unit: UnitRule
    meaning: str
    example: str
    history: History = History.NONE
    aliases: tuple[str, ...] = ()
    symbol: str = ""  # infix spelling, if it has one
    commutative: bool = False  # the first two arguments may change places
    recursive: bool = False  # early values depend on where history starts

    @property
    def signature(self) -> str:
        """As a reader sees it: "(x, bars)"."""
        names = (p.name if p.default is None else f"{p.name}={p.default:g}" for p in self.params)
        return f"({', '.join(names)})"

    @property
    def kinds(self) -> str:
        """As an error message says it: "(series, bars)"."""
        kinds = (p.kind if p.default is None else f"[{p.kind}]" for p in self.params)
        return f"({', '.join(kinds)})"

    @property
    def required(self) -> int:
        """How many arguments must be given."""
        return sum(p.default is None for p in self.params)

    def history_bars(self, literals: tuple[int, ...]) -> int:
        """Earlier bars that this operator itself needs, given its literal bars."""
        if self.history is History.NONE:
            return 0
        if self.history is History.LAG:
            return literals[0]
        return sum(literals) - 1


X, Y = Param("x"), Param("y")
COND = Param("cond")
BARS = Param("bars", Kind.BARS, low=1)
BARS2 = Param("bars", Kind.BARS, low=2)
BARS3 = Param("bars", Kind.BARS, low=3)
BARS4 = Param("bars", Kind.BARS, low=4)
GROUP = Param("group", Kind.GROUP)


def _number(name: str, low: float, high: float, default: float | None = None) -> Param:
    return Param(name, Kind.NUMBER, low, high, default)


_ANY = (-float("inf"), float("inf"))
U, F, H = UnitRule, Family, History


def _bar(
    name: str,
    params: tuple[Param, ...],
    unit: UnitRule,
    meaning: str,
    example: str,
    *aliases: str,
    symbol: str = "",
    commutative: bool = False,
) -> Operator:
    return Operator(
        name, params, F.BAR, unit, meaning, example, H.NONE, aliases, symbol, commutative
    )


def _window(
    name: str,
    params: tuple[Param, ...],
    unit: UnitRule,
    meaning: str,
    example: str,
    *aliases: str,
    history: History = H.WINDOW,
    commutative: bool = False,
    recursive: bool = False,
) -> Operator:
    return Operator(
        name, params, F.WINDOW, unit, meaning, example, history, aliases, "", commutative, recursive
    )


def _cross(
    name: str, params: tuple[Param, ...], unit: UnitRule, meaning: str, example: str, *aliases: str
) -> Operator:
    family = F.GROUPED if GROUP in params else F.CROSS
    return Operator(name, params, family, unit, meaning, example, H.NONE, aliases)


_BAR = (
    _bar("add", (X, Y), U.ADD, "Sum.", "rank(close / open) + rank(quote_volume / adv20)",
         symbol="+", commutative=True),
    _bar("sub", (X, Y), U.SUB, "Difference.", "(high - low) / close", symbol="-"),
    _bar("mul", (X, Y), U.MUL, "Product.", "returns * (quote_volume / adv20)", symbol="*",
         commutative=True),
    _bar("div", (X, Y), U.DIV, "Quotient; NaN when y is 0.", "close / open", symbol="/"),
    _bar("pow", (X, Y), U.POWER, "x to the power y; NaN where that is not real.",
         "(close / open) ^ 0.5", "power", symbol="^"),
    _bar("neg", (X,), U.SAME, "Minus x.", "-returns", symbol="-"),
    _bar("lt", (X, Y), U.COMPARE, "1 if x < y, else 0; NaN if either is NaN.", "close < open",
         symbol="<"),
    _bar("le", (X, Y), U.COMPARE, "1 if x <= y, else 0.", "close <= open", symbol="<="),
    _bar("gt", (X, Y), U.COMPARE, "1 if x > y, else 0.", "close > open", symbol=">"),
    _bar("ge", (X, Y), U.COMPARE, "1 if x >= y, else 0.", "close >= open", symbol=">="),
    _bar("eq", (X, Y), U.COMPARE, "1 if x equals y exactly, else 0.", "close == high",
         symbol="==", commutative=True),
    _bar("ne", (X, Y), U.COMPARE, "1 if x differs from y, else 0.", "close != open", symbol="!=",
         commutative=True),
    _bar("and", (X, Y), U.TRUTH, "1 if both are nonzero, else 0.",
         "close > open and volume > adv20 / close", symbol="and", commutative=True),
    _bar("or", (X, Y), U.TRUTH, "1 if one of them is nonzero, else 0.",
         "returns > 0.01 or returns < -0.01", symbol="or", commutative=True),
    _bar("not", (X,), U.TRUTH, "1 if x is 0, else 0.", "not (close > open)", symbol="not"),
    _bar("where", (COND, X, Y), U.WHERE,
         "x where cond is nonzero, else y; NaN where cond is NaN. Also `cond ? x : y`.",
         "returns < 0 ? ts_std(returns, 20) : 0", "if_else", "iff"),
    _bar("abs", (X,), U.SCALED, "Absolute value.", "abs(returns)"),
    _bar("sign", (X,), U.SIGN, "-1, 0 or 1.", "sign(delta(close, 1))"),
    _bar("log", (X,), U.LOG, "Natural logarithm; NaN for x <= 0.", "log(volume / delay(volume, 1))",
         "ln"),
    _bar("log1p_abs", (X,), U.PURE, "sign(x) * log(1 + |x|).", "log1p_abs(ts_zscore(volume, 20))",
         "signed_log"),
    _bar("exp", (X,), U.EXP, "e to the power x, x held within -700 and 700.", "exp(returns)"),
    _bar("sqrt", (X,), U.SQRT, "Square root; NaN for x < 0.", "sqrt(quote_volume / adv20)"),
    _bar("square", (X,), U.SQUARE, "x squared.", "square(returns)"),
    _bar("signed_power", (X, Y), U.POWER, "sign(x) * |x| ^ y.", "signed_power(returns, 0.5)",
         "signedpower"),
    _bar("inv", (X,), U.INVERSE, "1 / x; NaN when x is 0.", "inv(1 + ts_std(returns, 20))",
         "inverse"),
    _bar("tanh", (X,), U.PURE, "Hyperbolic tangent.", "tanh(ts_zscore(close, 20))"),
    _bar("sigmoid", (X,), U.PURE, "1 / (1 + exp(-x)).", "sigmoid(ts_zscore(close, 20))"),
    _bar("clip", (X, _number("low", *_ANY), _number("high", *_ANY)), U.PURE,
         "x held within low and high.", "clip(ts_zscore(close, 20), -3, 3)"),
    _bar("floor", (X,), U.PURE, "Largest whole number not above x.", "floor(10 * rank(returns))"),
    _bar("min", (X, Y), U.CHOICE, "The smaller of two series; not a window (see ts_min).",
         "min(open, close) / low", "min2", commutative=True),
    _bar("max", (X, Y), U.CHOICE, "The larger of two series; not a window (see ts_max).",
         "max(open, close) / high", "max2", commutative=True),
    _bar("is_nan", (X,), U.INVARIANT, "1 where x is NaN, else 0.", "is_nan(returns)", "isnan"),
    _bar("fill", (X, _number("value", *_ANY)), U.FILL, "x, with NaN replaced by a number.",
         "fill(returns, 0)", "fillna"),
)  # fmt: skip

_TIME = (
    _window("delay", (X, BARS), U.SHIFT, "x that many bars ago.", "close / delay(close, 5)",
            "ref", "lag", history=H.LAG),
    _window("delta", (X, BARS), U.SPREAD, "x minus x that many bars ago.",
            "delta(close, 5) / close", "diff", history=H.LAG),
    _window("pct_change", (X, BARS), U.RATIO, "x / delay(x, bars) - 1.", "pct_change(close, 5)",
            "ts_pct_change", "roc", history=H.LAG),
    _window("log_return", (X, BARS), U.RATIO,
            "log(x / delay(x, bars)); NaN unless both have one sign.", "log_return(close, 1)",
            history=H.LAG),
    _window("ts_sum", (X, BARS), U.SUM, "Sum.", "ts_sum(returns, 20)"),
    _window("ts_mean", (X, BARS), U.SHIFT, "Arithmetic mean.", "close / ts_mean(close, 20)", "sma",
            "ts_avg"),
    _window("ts_std", (X, BARS2), U.SPREAD, "Standard deviation, divisor bars - 1.",
            "ts_std(returns, 20)", "ts_stddev", "ts_std_dev"),
    _window("ts_std0", (X, BARS2), U.SPREAD, "Standard deviation, divisor bars.",
            "ts_std0(returns, 20)"),
    _window("ts_var", (X, BARS2), U.VARIANCE, "Variance, divisor bars - 1.", "ts_var(returns, 20)"),
    _window("ts_skew", (X, BARS3), U.INVARIANT, "Sample skewness, unbiased as in pandas.",
            "ts_skew(returns, 60)"),
    _window("ts_kurt", (X, BARS4), U.INVARIANT, "Sample excess kurtosis, unbiased as in pandas.",
            "ts_kurt(returns, 60)"),
    _window("ts_min", (X, BARS), U.SHIFT, "Smallest value.", "close / ts_min(low, 20)"),
    _window("ts_max", (X, BARS), U.SHIFT, "Largest value.", "close / ts_max(high, 20)"),
    _window("ts_argmin", (X, BARS2), U.INVARIANT,
            "Bars since the smallest value, 0 if it is this bar; the most recent wins a tie.",
            "ts_argmin(low, 20)", "ts_arg_min"),
    _window("ts_argmax", (X, BARS2), U.INVARIANT,
            "Bars since the largest value, 0 if it is this bar; the most recent wins a tie.",
            "ts_argmax(high, 20)", "ts_arg_max"),
    _window("ts_median", (X, BARS), U.SHIFT, "Median; the mean of the middle two if bars is even.",
            "close / ts_median(close, 20)", "ts_med"),
    _window("ts_mad", (X, BARS2), U.SPREAD, "Mean absolute deviation from the mean.",
            "ts_mad(returns, 20)"),
    _window("ts_quantile", (X, BARS, _number("q", 0, 1)), U.SHIFT,
            "The q-quantile, interpolated linearly.", "close / ts_quantile(close, 60, 0.9)"),
    _window("ts_rank", (X, BARS2), U.INVARIANT,
            "Rank of this bar within the window, ties averaged, in (0, 1].", "ts_rank(volume, 20)"),
    _window("ts_zscore", (X, BARS2), U.INVARIANT, "(x - mean) / std; NaN where std is 0.",
            "ts_zscore(volume, 20)"),
    _window("ts_scale", (X, BARS2), U.INVARIANT, "(x - min) / (max - min); NaN on a flat window.",
            "ts_scale(close, 20)", "ts_minmax"),
    _window("ts_product", (X, BARS), U.PRODUCT, "Product.", "ts_product(1 + returns, 20) - 1"),
    _window("ts_count", (COND, BARS), U.TRUTH, "Bars on which cond is nonzero.",
            "ts_count(returns > 0, 20)"),
    _window("ts_sum_if", (X, COND, BARS), U.SUM, "Sum of x over the bars on which cond is nonzero.",
            "ts_sum_if(returns, returns > 0, 20)"),
    _window("decay_linear", (X, BARS), U.SHIFT,
            "Mean with weights bars (newest), ..., 2, 1 (oldest).", "decay_linear(returns, 10)",
            "ts_decay_linear", "ts_decay"),
    _window("decay_exp", (X, BARS), U.SHIFT,
            "Mean with weights (1 - a)^age, a = 2 / (bars + 1), over exactly `bars` bars.",
            "decay_exp(returns, 10)", "ts_decay_exp"),
    _window("ema", (X, BARS), U.SHIFT,
            "Exponential mean, a = 2 / (bars + 1), from the mean of the first `bars` values; starts"
            " again after a NaN, and early values depend on where history starts.",
            "close / ema(close, 20)", "ts_ema", "ewm", recursive=True),
    _window("rma", (X, BARS), U.SHIFT, "Wilder's mean: as ema with a = 1 / bars.",
            "close / rma(close, 14)", recursive=True),
    _window("wma", (X, BARS), U.SHIFT, "The same as decay_linear.", "close / wma(close, 20)"),
    _window("ts_corr", (X, Y, BARS2), U.INVARIANT,
            "Pearson correlation; NaN if either is constant.", "ts_corr(returns, volume, 20)",
            "ts_correlation", "corr", commutative=True),
    _window("ts_cov", (X, Y, BARS2), U.COVARIANCE, "Covariance, divisor bars - 1.",
            "ts_cov(rank(returns), rank(quote_volume / adv20), 20)", "ts_covariance", "cov",
            commutative=True),
    _window("ts_rank_corr", (X, Y, BARS2), U.INVARIANT,
            "Spearman correlation, ties averaged; NaN if either is constant.",
            "ts_rank_corr(close, volume, 20)", commutative=True),
    _window("ts_autocorr", (X, BARS2, Param("lag", Kind.BARS)), U.INVARIANT,
            "Correlation of x with itself `lag` bars earlier.", "ts_autocorr(returns, 20, 1)",
            history=H.LAGGED_WINDOW),
    _window("ts_beta", (Y, X, BARS2), U.BETA, "Slope of y regressed on x; NaN if x is constant.",
            "ts_beta(returns, quote_volume / adv20, 60)"),
    _window("ts_slope", (X, BARS2), U.SPREAD, "Slope of x regressed on time, a bar.",
            "ts_slope(close, 20) / close"),
    _window("ts_rsquare", (X, BARS2), U.INVARIANT,
            "R squared of x regressed on time; NaN on a flat window.", "ts_rsquare(close, 20)"),
    _window("ts_resid", (X, BARS2), U.SPREAD, "x minus its linear trend, at this bar.",
            "ts_resid(close, 20) / close"),
)  # fmt: skip

_ACROSS = (
    _cross("rank", (X,), U.ACROSS, "Rank among the symbols, ties averaged, in (0, 1].",
           "rank(returns)", "cs_rank"),
    _cross("zscore", (X,), U.ACROSS, "(x - mean) / std over the symbols.", "zscore(returns)",
           "cs_zscore"),
    _cross("demean", (X,), U.ACROSS_SAME, "x minus the mean of the symbols.", "demean(returns)",
           "cs_demean"),
    _cross("scale", (X, _number("total", 1e-12, 1e12, 1)), U.ACROSS,
           "x scaled so that the absolute values add up to total.", "scale(demean(returns))",
           "cs_scale"),
    _cross("winsorize", (X, _number("tail", 0, 0.5, 0.05)), U.ACROSS_SAME,
           "x held within the tail and 1 - tail quantiles of the symbols.", "winsorize(returns)",
           "cs_winsorize"),
    _cross("quantile", (X, Param("buckets", Kind.BARS, 2, 1000, 5)), U.ACROSS,
           "Bucket of the symbol's rank, 1 (lowest) to buckets; ties share one.",
           "quantile(returns)", "cs_quantile"),
    _cross("neutralize", (X, Y), U.ACROSS_SAME,
           "x minus its regression on y over the symbols, with intercept; NaN below 3 symbols.",
           "neutralize(returns, log(adv20))", "cs_neutralize"),
    _cross("group_rank", (X, GROUP), U.ACROSS, "rank within the symbol's group.",
           "group_rank(returns, sector)"),
    _cross("group_zscore", (X, GROUP), U.ACROSS, "zscore within the symbol's group.",
           "group_zscore(returns, sector)"),
    _cross("group_demean", (X, GROUP), U.ACROSS_SAME, "x minus its group's mean.",
           "group_demean(returns, sector)"),
    _cross("group_neutralize", (X, GROUP), U.ACROSS_SAME, "The same as group_demean.",
           "group_neutralize(returns, sector)", "indneutralize"),
)  # fmt: skip

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {operator.name: operator for operator in (*_BAR, *_TIME, *_ACROSS)}
)
"""Every operator by its canonical name."""

SPELLINGS: Mapping[str, str] = MappingProxyType(
    {name: name for name in OPERATORS}
    | {alias: op.name for op in OPERATORS.values() for alias in op.aliases}
)
"""Every accepted spelling -> canonical name."""

INFIX: Mapping[str, str] = MappingProxyType(
    {op.symbol: op.name for op in OPERATORS.values() if op.symbol and len(op.params) == 2}
)
"""Infix symbol -> canonical name, for two arguments."""


def manual() -> str:
    """The language for a reader or a prompt: fields, operators, rules; plain text."""
    lines = [
        "Fields: open high low close volume quote_volume trades taker_buy_base taker_buy_quote "
        "vwap returns adv{d} (mean quote volume of d bars), and the indicator columns by name.",
        "Windows and lags are literal whole numbers of bars. There is no way to look ahead.",
        "A value is NaN until its window is full and while the window holds a NaN.",
        "Never compare raw prices or raw volumes of different symbols: divide first.",
    ]
    for family in Family:
        lines.append(f"\nOver {family}:")
        members = (operator for operator in OPERATORS.values() if operator.family is family)
        lines.extend(_manual_line(operator) for operator in members)
    return "\n".join(lines)


def _manual_line(operator: Operator) -> str:
    names = ", ".join(param.name for param in operator.params)
    if operator.symbol and len(operator.params) == 2:
        head = f"x {operator.symbol} y"
    elif operator.symbol:
        head = f"{operator.symbol} {names}" if operator.symbol.isalpha() else f"-{names}"
    else:
        head = operator.name + operator.signature
    return f"  {head}: {operator.meaning} Example: {operator.example}"
