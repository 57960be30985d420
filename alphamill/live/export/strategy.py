"""A factor as a strategy of freqtrade: it follows the signals of a live, or computes by itself.

The class is of interface version 3 and is written against freqtrade 2025. No name of a run or a
live becomes code: they stand in the file as literals, and the class is named by the factor's hash.
"""

from __future__ import annotations

import re

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.live.export.pandas_module import columns_read, module_parts
from alphamill.live.export.source import carried
from alphamill.live.export.what import Exported

CANDLE_COLUMNS = ("open", "high", "low", "close", "volume")
"""What a candle of freqtrade holds."""

_DOC = '''"""A strategy of freqtrade for a factor of alphamill: no order but by your settings.

source "signals": target weights are read from the live's Redis stream, at the address in the
environment variable ALPHAMILL_REDIS_URL. source "compute": the factor is computed here over the
pairs of the whitelist, which then are the cross-section. Long where the weight is above
`entry_weight`, short where it is below its negative (futures only); out where it has changed side.
Without a signal of the newest candle nothing is entered and nothing is left. A position's stake is
its weight's share of the wallet. There is no stop: set your own.
"""'''

_WEIGHTS = '''def rank_weights(values: pd.DataFrame) -> pd.DataFrame:
    """Weights proportional to centred ranks, of gross exposure 1; 0 below three values."""
    ranks = values.rank(axis=1)
    centred = ranks.sub(ranks.mean(axis=1), axis=0).fillna(0.0)
    centred[values.notna().sum(axis=1) < 3] = 0.0
    gross = centred.abs().sum(axis=1)
    return centred.div(gross.where(gross > 0, 1.0), axis=0)'''

_CLASS = '''class @CLASS@(IStrategy):
    """Follows one factor; see the top of the file."""

    INTERFACE_VERSION = 3
    timeframe = INTERVAL
    can_short = @SHORT@
    process_only_new_candles = True
    use_exit_signal = True
    minimal_roi = {"0": 100.0}
    stoploss = -0.99
    startup_candle_count = @STARTUP@

    source = @SOURCE@
    entry_weight = 0.0
    in_time_s = @IN_TIME@  # how long after a candle's close its signal is still of use

    _reader: SignalReader | None = None
    _computed: tuple[Any, pd.DataFrame] | None = None

    def informative_pairs(self) -> list[tuple[str, str]]:
        """The whole cross-section, where it is computed here."""
        if self.source != "compute":
            return []
        return [(pair, self.timeframe) for pair in self.dp.current_whitelist()]

    def populate_indicators(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Add the column target_weight."""
        pair = metadata["pair"]
        if self.source == "signals":
            dataframe["target_weight"] = self._published(pair, dataframe["date"])
        elif self.source == "compute":
            weights = self._own(pair, dataframe)
            dataframe["target_weight"] = weights[pair].reindex(dataframe["date"]).to_numpy()
        else:
            raise ValueError(f"source is {self.source!r}, not 'signals' or 'compute'")
        return dataframe

    def populate_entry_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Long above the threshold, short below its negative."""
        weight = dataframe["target_weight"]
        dataframe["enter_long"] = (weight > self.entry_weight).astype(int)
        if self.can_short:
            dataframe["enter_short"] = (weight < -self.entry_weight).astype(int)
        return dataframe

    def populate_exit_trend(self, dataframe: pd.DataFrame, metadata: dict) -> pd.DataFrame:
        """Out where the weight is no longer of the position's side; not where it is unknown."""
        weight = dataframe["target_weight"]
        dataframe["exit_long"] = (weight <= 0).astype(int)
        if self.can_short:
            dataframe["exit_short"] = (weight >= 0).astype(int)
        return dataframe

    def custom_stake_amount(
        self,
        pair: str,
        current_time: Any,
        current_rate: float,
        proposed_stake: float,
        min_stake: float | None,
        max_stake: float,
        leverage: float,
        entry_tag: str | None,
        side: str,
        **kwargs: Any,
    ) -> float:
        """The weight's share of the wallet; 0, which enters nothing, where there is no weight."""
        candles, _ = self.dp.get_analyzed_dataframe(pair, self.timeframe)
        if candles is None or candles.empty:
            return 0.0
        weight = float(candles["target_weight"].iloc[-1])
        if not np.isfinite(weight) or (weight > 0) != (side == "long"):
            return 0.0
        total = self.wallets.get_total_stake_amount() if self.wallets else proposed_stake
        return min(abs(weight) * total, max_stake)

    def _published(self, pair: str, dates: pd.Series) -> list[float]:
        try:
            import redis
        except ImportError as error:
            raise ValueError("to follow signals, install redis: pip install redis") from error
        if not LIVE:
            raise ValueError("this file names no live to follow; set source = 'compute'")
        if self._reader is None:
            address = os.environ.get("ALPHAMILL_REDIS_URL", "redis://localhost:6379/0")
            client = redis.Redis.from_url(address, socket_timeout=5, socket_connect_timeout=5)
            self._reader = SignalReader(client, STREAM, LIVE, HASH, int(self.in_time_s * 1000))
        try:
            self._reader.read()
        except redis.RedisError as error:
            logger.error("no signals of %s: %s", LIVE, error)
        epoch = pd.Timestamp(0, tz="UTC")
        symbol = pair.partition(":")[0].replace("/", "")
        return self._reader.weights(symbol, (dates - epoch) // pd.Timedelta(milliseconds=1))

    def _own(self, pair: str, dataframe: pd.DataFrame) -> pd.DataFrame:
        if not OWN:
            raise ValueError(WHY_NOT_OWN)
        frames = {pair: dataframe}
        for other in self.dp.current_whitelist():
            if other != pair:
                frames[other] = self.dp.get_pair_dataframe(other, self.timeframe)
        seen = sorted((one, len(frame), str(frame["date"].max())) for one, frame in frames.items())
        if self._computed is None or self._computed[0] != seen:
            columns = [*COLUMNS, "open_time", "symbol"]
            candles = pd.concat(
                frame.rename(columns={"date": "open_time"}).assign(symbol=one)[columns]
                for one, frame in frames.items()
                if len(frame)
            )
            self._computed = seen, rank_weights(factor(candles))
        return self._computed[1]'''


def class_name(exported: Exported) -> str:
    """The strategy's name, by which freqtrade finds it."""
    return f"Alphamill_{exported.factor.hash}"


def strategy_text(exported: Exported, prefix: str = "alphamill") -> str:
    """The strategy's source: it follows the live, and computes by itself where none is named.

    prefix: of the keys in Redis. Raises GiveUp where there is neither a live nor a way to compute
    the factor from freqtrade's candles.
    """
    if exported.band:
        raise GiveUp(
            f"a strategy meets its targets in full, and this factor's book has a band of "
            f"{exported.band:g}: export a factor of a run without portfolio.band, or --to json"
        )
    why_not = _why_not_own(exported)
    if why_not and not exported.live:
        raise GiveUp(f"{why_not}; follow it with alphamill live start and export it with --live")
    if not re.fullmatch(r"[0-9a-f]{16}", exported.factor.hash):
        raise ValueError(f"{exported.factor.hash!r} is no hash")
    interval = exported.interval or Interval.H1
    if interval.ms is None:
        raise GiveUp(f"freqtrade has no candles of {interval.value}")
    imports, parts = module_parts(exported)
    reader_imports, reader = carried("reader", ["SignalReader"])
    lines = sorted({one for one in (*imports, *reader_imports) if one.startswith(("import", "fr"))})
    head = [one for one in lines if "__future__" in one]
    rest = [one for one in lines if "__future__" not in one]
    if "import os" not in rest:
        rest.append("import os")
    stated = {
        "OWN": not why_not,
        "WHY_NOT_OWN": why_not,
        "STREAM": f"{prefix}:live:{exported.live}:signals" if exported.live else "",
    }
    filled = {
        "@CLASS@": class_name(exported),
        "@SHORT@": repr(exported.market not in (None, Market.SPOT)),
        "@SOURCE@": repr("signals" if exported.live else "compute"),
        "@STARTUP@": repr(0 if exported.live else exported.factor.lookback_bars + 1),
        "@IN_TIME@": repr(interval.ms / 2000),
    }
    body = _CLASS
    for mark, text in filled.items():
        body = body.replace(mark, text)
    constants = [f"{name} = {value!r}" for name, value in stated.items()]
    if exported.interval is None:
        constants.append(f"INTERVAL = {interval.value!r}  # nobody said: set the one you trade")
        parts = [one for one in parts if not one.startswith("INTERVAL = ")]
    blocks = [_DOC, "", *head, "", *sorted(rest), "", "from freqtrade.strategy import IStrategy"]
    blocks += ["", *constants, *parts, "", ""]
    for one in reader:
        blocks += [one, "", ""] if one.startswith(("class ", "def ")) else [one, ""]
    return "\n".join([*blocks, "", _WEIGHTS, "", "", body]) + "\n"


def _why_not_own(exported: Exported) -> str:
    """Why the strategy cannot compute the factor by itself; "" if it can."""
    absent = [name for name in columns_read(exported) if name not in CANDLE_COLUMNS]
    if absent:
        return f"freqtrade's candles have no {', '.join(absent)}"
    if exported.weighting != "rank":
        return f"a strategy weighs by rank, not by {exported.weighting}"
    if any(name.startswith("group_") for name in _operators(exported)):
        return "freqtrade's pairs have no groups"
    return ""


def _operators(exported: Exported) -> set[str]:
    from alphamill.factors.syntax import Call, walk

    return {node.name for node in walk(exported.factor.tree) if isinstance(node, Call)}
