"""`alphamill sim exchange` and `alphamill sim llm`: the simulators, alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.frames import Interval
from alphamill.sim.exchange import FUTURES_STREAMS, ArchiveFault, Fault, FaultKind, StreamFault
from producers import options


@click.group()
def sim() -> None:
    """Simulators for offline use, on loopback; never what a claim rests on alone.

    \b
    Example:
      alphamill sim exchange --port 8001 --synthetic 7
      ALPHAMILL_BINANCE_URL=http://127.0.0.1:8001 alphamill up
    """


class _FaultType(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    name = "fault"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Fault:
        try:
            return value if isinstance(value, Fault) else Fault.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _ArchiveFaultType(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    name = "archive fault"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> ArchiveFault:
        try:
            return value if isinstance(value, ArchiveFault) else ArchiveFault.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _StreamFaultType(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    name = "stream fault"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> StreamFault:
        try:
            return value if isinstance(value, StreamFault) else StreamFault.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _say_port(what: str, port: int) -> None:
    click.echo(f"{what} on http://127.0.0.1:{port}; Ctrl-C stops it")


@sim.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option(
    "--replay",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of SYMBOL-INTERVAL.parquet recordings, or of folders spot, um, cm of them.",
)
@click.option(
    "--derive",
    is_flag=True,
    help="Make what recordings lack of what they have: daily bars of shorter ones; made-up counts "
    "of trades and shares of takers where none are recorded.",
)
@click.option("--synthetic", "seed", type=int, help="Seed of a synthetic market (the default).")
@click.option("--interval", "intervals", type=options.Intervals(), help="Of the synthetic market.")
@click.option("--weight", type=click.IntRange(1), help="Weight a window; default 6000.")
@click.option("--window-s", type=click.FloatRange(0.1), help="Length of a window; default 60.")
@click.option("--latency-ms", type=click.FloatRange(0), default=0.0, show_default=True)
@click.option("--now", type=options.Day(), help="What its clock shows at the start.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="How many times faster its clock goes: at 60 a day of 1m bars takes 24 minutes. Bars, "
    "streams, archive, the windows of limits and the life of a websocket follow it; pings and "
    "Retry-After stay in your seconds.",
)
@click.option(
    "--stream-life-s",
    type=click.FloatRange(0, min_open=True),
    help="Of a websocket, on the exchange's clock; default 24 h.",
)
@click.option(
    "--stream-ping-s",
    type=click.FloatRange(0, min_open=True),
    help="Between pings, of which each is to be answered within three times this; default 20, and "
    "180 (answered within 600) on futures.",
)
@click.option(
    "--futures-close-s",
    type=click.FloatRange(0, 3600),
    default=FUTURES_STREAMS.close_timer_s,
    show_default=True,
    help="On futures streams the end of a bar is told with the next bar's first trade, and at the "
    "latest so many seconds after the bar; 3600 is as good as by trades alone.",
)
@click.option(
    "--futures-empty-closes",
    is_flag=True,
    help="Tell the end of futures bars without a trade too, as spot does; what the exchange does "
    "is not known, and the default is silence.",
)
@click.option(
    "--fault",
    "faults",
    type=_FaultType(),
    multiple=True,
    metavar="KIND:WHEN",
    help="truncate:0.02 a share, reset:/50 every 50th, http_418:@7 the 7th, waf:@7-9, "
    f"http_451:@7- from the 7th on; may be repeated. {', '.join(FaultKind)}.",
)
@click.option(
    "--stream-fault",
    "stream_faults",
    type=_StreamFaultType(),
    multiple=True,
    metavar="KIND[=S-S]:WHEN",
    help="Where the end of a bar is told; WHEN as in --fault, numbers count the bars of each kline "
    "stream that end after the start; may be repeated. close_late (5 to 30 s; close_late=0.2-2 for "
    "other seconds), close_lost, close_twice (again after 0.2 to 2 s, =60 for after a reconnect), "
    "stale (then an older frame), cut_frame, cut_json, drop (the connection, without a word), "
    "silent (no event any more, pings go on), shutdown (serverShutdown on spot, then the end; =10: "
    "so long after).",
)
@click.option(
    "--fault-seed", type=int, default=0, show_default=True, help="Of the shares of faults."
)
@click.option(
    "--skew-s",
    type=float,
    default=18_000.0,
    show_default=True,
    help="How far off serverTime is in a fault of kind clock.",
)
@click.option(
    "--special-funding",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="Every N-th settlement of the synthetic market has a Special payment beside it.",
)
@click.option(
    "--archive-fault",
    "archive_faults",
    type=_ArchiveFaultType(),
    multiple=True,
    metavar="KIND[:NAMES]",
    help="For example bad_checksum or missing:BTCUSDT-1m-2021-*; may be repeated. Of files of "
    "trades also interleaved, repeated, zero_quantity, always_maker, cut_rows, lost_rows, "
    "no_header, other_booleans.",
)
@options.exits
def exchange(
    port: int,
    replay: Path | None,
    derive: bool,
    seed: int | None,
    intervals: tuple[Interval, ...] | None,
    weight: int | None,
    window_s: float | None,
    latency_ms: float,
    now: int | None,
    speed: float,
    stream_life_s: float | None,
    stream_ping_s: float | None,
    futures_close_s: float,
    futures_empty_closes: bool,
    faults: tuple[Fault, ...],
    stream_faults: tuple[StreamFault, ...],
    fault_seed: int,
    skew_s: float,
    special_funding: int,
    archive_faults: tuple[ArchiveFault, ...],
) -> None:
    """Serve Binance's kline API, streams and archive from recordings or a seeded market.

    --replay serves files as they are: those of the folder itself as spot, or those of its folders
    spot, um (USD-M) and cm (COIN-M) each as that market. BTCUSDT-1h.parquet has the columns
    open_time (UTC, a timestamp or integer milliseconds), open, high, low, close, volume and, where
    they are recorded, quote_volume, trades, taker_buy_base, taker_buy_quote. Beside it in um or cm,
    BTCUSDT-fundingRate.parquet has funding_time, funding_rate and, where known, rate_type (Special
    or Regular). Only recorded intervals are served, unless --derive adds the day.

    \b
    Example:
      alphamill sim exchange --port 8001 --replay ../shared/data/klines/spot
      alphamill sim exchange --port 8001 --replay ../shared/data/klines   # spot/ and um/
    """
    from alphamill.sim.exchange import ExchangeConfig, run_exchange
    from alphamill.sim.market import SyntheticMarket

    if replay is not None and seed is not None:
        raise click.UsageError("--replay and --synthetic exclude each other")
    if replay is not None and special_funding:
        raise click.UsageError(
            "--special-funding is of a synthetic market; recordings state theirs"
        )
    if derive and replay is None:
        raise click.UsageError("--derive is of recordings: name a folder with --replay")
    market = SyntheticMarket(wide=True) if seed is None else SyntheticMarket(seed=seed, wide=True)
    market = replace(market, special_funding=special_funding)
    if intervals:
        market = replace(market, interval=intervals[0])
    config = ExchangeConfig(
        port=port,
        replay=replay,
        derive=derive,
        synthetic=market,
        clock_offset_ms=0 if now is None else now - SystemClock().now_ms(),
        speed=speed,
        latency_ms=(0.0, latency_ms),
        faults=faults,
        stream_faults=stream_faults,
        seed=fault_seed,
        skew_ms=round(skew_s * 1000),
        archive_faults=archive_faults,
    )
    limits = config.spot_limits
    if weight is not None:
        limits = replace(limits, weight=weight)
    if window_s is not None:
        limits = replace(limits, window_ms=round(window_s * 1000))
    changed: dict[str, Any] = {}
    if stream_life_s is not None:
        changed |= {"life_s": stream_life_s}
    if stream_ping_s is not None:
        changed |= {"ping_s": stream_ping_s, "pong_within_s": 3 * stream_ping_s}
    changed_futures = changed | {
        "close_timer_s": futures_close_s,
        "empty_closes": futures_empty_closes,
    }
    config = replace(
        config,
        spot_limits=limits,
        spot_streams=replace(config.spot_streams, **changed),
        futures_streams=replace(config.futures_streams, **changed_futures),
    )
    try:
        run_exchange(config, lambda at: _say_port("exchange", at))
    except OSError as error:
        raise Misconfigured("--port", f"port {port}: {error.strerror}", "choose another") from error


@sim.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8002, show_default=True)
@click.option("--seed", type=int, default=7, show_default=True)
@click.option("--requests-per-minute", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--tokens-per-minute", type=click.IntRange(1), default=100_000_000, show_default=True)
@click.option("--latency-ms", type=click.IntRange(0), default=30, show_default=True)
@click.option("--api-key", default="", help="The only key that is accepted; default: any.")
@options.exits
def llm(
    port: int,
    seed: int,
    requests_per_minute: int,
    tokens_per_minute: int,
    latency_ms: int,
    api_key: str,
) -> None:
    """Serve an OpenAI-compatible endpoint whose answers come from a seeded grammar.

    \b
    Example:
      alphamill sim llm --port 8002 --seed 7
    """
    from alphamill.sim.llm.server import LLMConfig, run_llm

    config = LLMConfig(port, seed, requests_per_minute, tokens_per_minute, latency_ms, api_key)
    try:
        run_llm(config, lambda at: _say_port("offline LLM", at))
    except OSError as error:
        raise Misconfigured("--port", f"port {port}: {error.strerror}", "choose another") from error
