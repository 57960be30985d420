"""The master list of a market: the lake's newest, or asked of archive and exchange."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime

import click

from alphamill.clock import SystemClock
from alphamill.errors import Misconfigured
from alphamill.frames import Market
from alphamill.lake import Lake
from alphamill.market.archive import SETTING
from alphamill.market.archive_index import ArchiveIndex
from alphamill.redis_store import connect
from alphamill.settings import Settings
from alphamill.universe import master_list
from alphamill.universe.snapshots import MasterList, read_master_list, write_master_list
from producers.submit.listing import exchange_listing


def known_symbols(
    settings: Settings, market: Market, *, refresh: bool = False, since: date = date.min
) -> MasterList:
    """The newest list of the lake; asked for where there is none of `since` or later, or `refresh`.

    Raises Misconfigured where no archive may be used, else as the exchange's and the archive's
    clients do.
    """
    lake = Lake(settings.lake_uri)
    before = read_master_list(lake, market)
    if before is not None and not refresh and before.on >= since:
        return before
    asked = _asked(settings, market, before)
    write_master_list(lake, asked)
    return asked


def _asked(settings: Settings, market: Market, before: MasterList | None) -> MasterList:
    url = settings.binance.archive_for(settings.binance.url(market))
    if not url:
        raise Misconfigured(
            SETTING,
            "what was delisted is known from the archive's listing, and no archive is in use",
            "name one with it, and set binance.archive to true",
        )
    now_ms = SystemClock().now_ms()
    infos = exchange_listing(settings, market, connect(settings), fresh=True).symbols
    index = ArchiveIndex(url, SystemClock(), settings.binance.timeout_s)
    try:
        with click.progressbar(
            length=0, label=f"asking the archive about symbols of {market.value}", file=sys.stderr
        ) as bar:

            def told(done: int, of: int) -> None:
                bar.length = of
                bar.update(done - bar.pos)

            known = {one.symbol: one for one in before.symbols} if before else {}
            symbols = master_list.read_master_list(index, infos, market, now_ms, known, told)
    finally:
        index.close()
    return MasterList(market, datetime.fromtimestamp(now_ms / 1000, UTC).date(), symbols)
