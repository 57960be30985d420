"""Real bars whose returns are worthless: every bar's log returns get a sign that is drawn for it.

One sign for all coins of a bar, so that what they share in it stays: the size of each return, and
with it clusters of volatility and fat tails; the products of any two coins' returns, and with them
their correlations; volumes, holes, listings and deaths. Where the sign is a fair coin's, nothing
that is known before a bar says anything of its direction: the RankIC of whatever it is, with the
returns of any horizon, is 0 in the mean, since turning all coming signs turns it. What is lost on
purpose: drift, momentum, reversal, lead and lag, the difference between rises and falls.

Two other ways keep what should go. A sign for a block of bars turns a coin's last return and its
next alike: their product, which reversal lives on, stays as it was. A circular shift of each coin's
bars leaves that too, and takes the correlations apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from alphamill.frames import FloatArray

_PRICES = ("open", "high", "low", "close")
_TURNED = {"high": "low", "low": "high"}
# Beside bars: a price moves with the close, a number of coins against it.
_SCALED = {"mark_price": 1.0, "index_price": 1.0, "open_interest": -1.0}


def fair_signs(seed: int, n_bars: int, block_bars: int = 1) -> FloatArray:
    """1 or -1 a bar, (bars,), drawn for `block_bars` at a time. Equal arguments, equal signs."""
    rng = np.random.Generator(np.random.PCG64([seed, 11]))
    drawn = rng.integers(0, 2, -(-n_bars // block_bars)) * 2.0 - 1.0
    signs: FloatArray = np.repeat(drawn, block_bars)[:n_bars]
    return signs


def mirrored(fields: Mapping[str, FloatArray], signs: FloatArray) -> dict[str, FloatArray]:
    """The same fields with every bar's moves times its sign, (bars, symbols) each.

    fields: kline fields, and what else the panel holds but for indicators, which are to be computed
    anew. A coin begins at its own first open. Highs turn into lows, what takers bought into what
    they sold; quote volumes and counts stay, base volumes follow the price. Prices beside the bars
    keep their distance to the close, and the rest, as rates of funding, stays as it was recorded.
    """
    mirror = Mirror(fields)
    step = np.nan_to_num(mirror.moves["close"]) * signs[:, None]
    before = mirror.start + np.cumsum(step, axis=0) - step
    made = mirror.rows(slice(None), before, signs[:, None])
    ratio = made["close"] / fields["close"]
    for name, values in fields.items():
        if name not in made:
            made[name] = values * ratio ** _SCALED[name] if name in _SCALED else values
    return {name: made[name] for name in fields}


class Mirror:
    """Bars as logarithms against the last close before each, of a coin's first against its open.

    moves: of each price, (bars, symbols); start: logarithms of each coin's first open, (symbols,).
    """

    def __init__(self, fields: Mapping[str, FloatArray]) -> None:
        self._fields = fields
        logs = {name: np.log(fields[name]) for name in _PRICES}
        before = _last_known(logs["close"])
        self._before = np.where(np.isnan(before), logs["open"], before)
        self.moves = {name: logs[name] - self._before for name in _PRICES}
        there = np.isfinite(self._before)
        first = there & (np.cumsum(there, axis=0) == 1)
        self.start: FloatArray = np.where(first, self._before, 0.0).sum(axis=0)

    def rows(self, at: slice, before: FloatArray, signs: FloatArray) -> dict[str, FloatArray]:
        """Kline fields of some bars. before: the mirrored last close before each, as a logarithm.

        signs: (bars, 1).
        """
        made = {}
        for name in _PRICES:
            other = _TURNED.get(name, name)
            move = np.where(signs > 0, self.moves[name][at], self.moves[other][at]) * signs
            made[name] = np.exp(before + move)
        base, quote, trades = (
            self._fields[name][at] for name in ("volume", "quote_volume", "trades")
        )
        # The mean price of a bar is mirrored as its others are.
        with np.errstate(divide="ignore", invalid="ignore"):
            paid = np.log(quote / base) - self._before[at]
            scale = np.exp(before - self._before[at] + (signs - 1) * paid)
            scale = np.where(np.isfinite(scale), scale, made["close"] / self._fields["close"][at])
        made |= {"volume": base / scale, "quote_volume": quote, "trades": trades}
        for name, whole, now in (
            ("taker_buy_base", base, made["volume"]),
            ("taker_buy_quote", quote, quote),
        ):
            taken = self._fields[name][at]
            share = np.divide(taken, whole, out=np.zeros_like(whole), where=whole > 0)
            made[name] = np.where(signs > 0, share, 1 - share) * now
        return made


def _last_known(values: FloatArray) -> FloatArray:
    """The last finite value above each row, NaN before the first."""
    rows = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(values), rows, -1), axis=0)
    earlier = np.vstack([np.full((1, values.shape[1]), -1), last[:-1]])
    known: FloatArray = np.where(
        earlier >= 0, np.take_along_axis(values, np.maximum(earlier, 0), axis=0), np.nan
    )
    return known
