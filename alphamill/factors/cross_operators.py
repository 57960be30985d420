"""Operators over the symbols of one bar, all or those of a group."""

from __future__ import annotations

from alphamill.factors.record import GROUP, Kind, Param, X, Y, cross, number
from alphamill.factors.units import UnitRule as U

# fmt: off
CROSS_OPERATORS = (
    cross("rank", (X,), U.ACROSS, "Rank among the symbols, ties averaged, in (0, 1].",
          "rank(returns)", "cs_rank"),
    cross("zscore", (X,), U.ACROSS, "(x - mean) / std over the symbols.", "zscore(returns)",
          "cs_zscore"),
    cross("demean", (X,), U.ACROSS_SAME, "x minus the mean of the symbols.", "demean(returns)",
          "cs_demean"),
    cross("scale", (X, number("total", 1e-12, 1e12, 1)), U.ACROSS,
          "x scaled so that the absolute values add up to total.", "scale(demean(returns))",
          "cs_scale"),
    cross("winsorize", (X, number("tail", 0, 0.5, 0.05)), U.ACROSS_SAME,
          "x held within the tail and 1 - tail quantiles of the symbols.", "winsorize(returns)",
          "cs_winsorize"),
    cross("quantile", (X, Param("buckets", Kind.BARS, 2, 1000, 5)), U.ACROSS,
          "Bucket of the symbol's rank, 1 (lowest) to buckets; ties share one.",
          "quantile(returns)", "cs_quantile"),
    cross("neutralize", (X, Y), U.ACROSS_SAME,
          "x minus its regression on y over the symbols, with intercept; NaN below 3 symbols.",
          "neutralize(returns, log(adv20))", "cs_neutralize"),
    cross("cs_mean", (X,), U.ACROSS_SAME, "Mean of the symbols.", "returns - cs_mean(returns)"),
    cross("cs_median", (X,), U.ACROSS_SAME, "Median of the symbols.",
          "returns - cs_median(returns)"),
    cross("cs_std", (X,), U.ACROSS_SAME,
          "Standard deviation over the symbols, divisor symbols - 1.", "returns / cs_std(returns)"),
    cross("cs_skew", (X,), U.ACROSS, "Sample skewness over the symbols, unbiased as in pandas.",
          "returns * cs_skew(returns)"),
    cross("cs_kurt", (X,), U.ACROSS,
          "Sample excess kurtosis over the symbols, unbiased as in pandas.",
          "returns * cs_kurt(returns)"),
    cross("cs_min", (X,), U.ACROSS_SAME, "Smallest of the symbols.", "returns - cs_min(returns)"),
    cross("cs_max", (X,), U.ACROSS_SAME, "Largest of the symbols.", "returns - cs_max(returns)"),
    cross("group_rank", (X, GROUP), U.ACROSS, "rank within the symbol's group.",
          "group_rank(returns, sector)"),
    cross("group_zscore", (X, GROUP), U.ACROSS, "zscore within the symbol's group.",
          "group_zscore(returns, sector)"),
    cross("group_demean", (X, GROUP), U.ACROSS_SAME, "x minus its group's mean.",
          "group_demean(returns, sector)"),
    cross("group_neutralize", (X, GROUP), U.ACROSS_SAME, "The same as group_demean.",
          "group_neutralize(returns, sector)", "indneutralize"),
)
# fmt: on
