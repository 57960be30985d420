"""Settings of the exchange: where it and its archive are, and how much of it may be used."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from alphamill.frames import Market
from alphamill.settings.fields import Count, Frozen, Positive

ARCHIVE_URL = "https://data.binance.vision"
STREAM_URLS = {
    Market.SPOT: "wss://stream.binance.com:9443",
    Market.USD_M: "wss://fstream.binance.com",
    Market.COIN_M: "wss://dstream.binance.com",
}
# The archive holds these hosts' bars. It must not be mixed with a simulator's or a testnet's.
_ARCHIVED = re.compile(
    r"https://(api(\d|-gcp)?|[fd]api)\.binance\.com/?|https://data-api\.binance\.vision/?"
)
STREAM_URLS = {
    Market.SPOT: "wss://stream.binance.com:9443",
    Market.USD_M: "wss://fstream.binance.com",
    Market.COIN_M: "wss://dstream.binance.com",
}


class BinanceSettings(Frozen):
    """The exchange: where it is and how much of it we may use."""

    spot_url: str = "https://api.binance.com"
    um_url: str = "https://fapi.binance.com"
    cm_url: str = "https://dapi.binance.com"
    archive_url: str = ARCHIVE_URL
    archive: bool = True  # past months come from the archive's files, at no request weight
    stream_url: str = STREAM_URLS[Market.SPOT]
    um_stream_url: str = STREAM_URLS[Market.USD_M]  # routes are added to it
    cm_stream_url: str = STREAM_URLS[Market.COIN_M]
    clock_speed: Positive = 1.0  # of a simulated exchange; the real one's is 1
    requests_per_minute: Count = 1200
    weight_frac: Annotated[float, Field(gt=0, le=1)] = 0.98  # of the limit that exchangeInfo states
    window_s: Positive = 60.0  # length of the exchange's fixed windows; tests scale it down
    guard_ms: Annotated[int, Field(ge=0)] = 100  # kept clear on both sides of a window's edge
    egress: str = "default"  # machines that share this name share one IP's limit
    timeout_s: Positive = 15.0

    def url(self, market: Market) -> str:
        """Where a market's API is."""
        urls = {Market.SPOT: self.spot_url, Market.USD_M: self.um_url, Market.COIN_M: self.cm_url}
        return urls[market]

    def streams_for(self, market: Market) -> str:
        """Where a market's websocket streams are.

        Binance's own streams go with Binance's own hosts; beside any other host, such as a
        simulator's, streams that were not named are at the API's own address.
        """
        urls = {
            Market.SPOT: self.stream_url,
            Market.USD_M: self.um_stream_url,
            Market.COIN_M: self.cm_stream_url,
        }
        api = self.url(market).rstrip("/")
        if urls[market] == STREAM_URLS[market] and not _ARCHIVED.fullmatch(api):
            return api.replace("http", "ws", 1)
        return urls[market].rstrip("/")

    def archive_for(self, exchange_url: str) -> str:
        """The archive with the bars of the exchange at `exchange_url`; "" if there is none to use.

        Binance's own archive goes with Binance's own hosts; beside any other host, `archive_url`
        must name that host's archive.
        """
        foreign = self.archive_url.rstrip("/") == ARCHIVE_URL and not _ARCHIVED.fullmatch(
            exchange_url
        )
        return self.archive_url if self.archive and not foreign else ""
