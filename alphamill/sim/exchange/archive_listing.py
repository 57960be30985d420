"""The simulated archive's listing of its bucket: XML of S3's ListObjects, version 1.

Keys of klines alone, of which every caller names a folder; without sizes and times, which nobody
asks about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from alphamill.frames import Interval, Market
from alphamill.sim.market import BarSource

_MOST_KEYS = 1000
_FOLDERS = {Market.SPOT: "spot", Market.USD_M: "futures/um", Market.COIN_M: "futures/cm"}
_NUMPY_UNIT = {"monthly": "M", "daily": "D"}


@dataclass(frozen=True, slots=True)
class ArchiveKeys:
    """Keys that lie in the archive. is_out: whether a path, with its slash, is there by now."""

    source: BarSource
    is_out: Callable[[str], bool]

    def below(self, prefix: str, delimiter: str) -> Iterator[str]:
        """Keys with that prefix, in order; with "/" a folder stands for all that is in it."""
        for market, folder in _FOLDERS.items():
            for span in ("daily", "monthly"):
                root = f"data/{folder}/{span}/klines/"
                if root.startswith(prefix):
                    rest = root[len(prefix) :]
                    yield from (
                        [prefix + rest.split("/")[0] + "/"]
                        if delimiter and rest
                        else self._symbols(market, span, root, prefix, delimiter)
                    )
                elif prefix.startswith(root):
                    yield from self._symbols(market, span, root, prefix, delimiter)

    def _symbols(
        self, market: Market, span: str, root: str, prefix: str, delimiter: str
    ) -> Iterator[str]:
        for symbol in sorted(self.source.symbols(market)):
            folder = f"{root}{symbol}/"
            if folder.startswith(prefix) and delimiter and folder != prefix:
                yield folder
            elif folder.startswith(prefix) or prefix.startswith(folder):
                yield from self._intervals(market, span, symbol, folder, prefix, delimiter)

    def _intervals(
        self, market: Market, span: str, symbol: str, root: str, prefix: str, delimiter: str
    ) -> Iterator[str]:
        names = {
            "1mo" if interval is Interval.MO1 else interval.value: interval
            for interval in self.source.intervals(market, symbol)
        }
        for name in sorted(names):
            folder = f"{root}{name}/"
            if folder.startswith(prefix) and delimiter and folder != prefix:
                yield folder
            elif folder.startswith(prefix) or prefix.startswith(folder):
                stems = self._stems(market, span, symbol, names[name])
                for stem in stems:
                    for ending in (".zip", ".zip.CHECKSUM"):
                        key = f"{folder}{symbol}-{name}-{stem}{ending}"
                        if key.startswith(prefix) and self.is_out(f"/{key}"):
                            yield key

    def _stems(self, market: Market, span: str, symbol: str, interval: Interval) -> Sequence[str]:
        """Months or days in which a bar opens, in order."""
        bars = self.source.bars(market, symbol, interval)
        if bars is None:
            return ()
        opened = np.unique(
            bars.open_ms.astype("datetime64[ms]").astype(f"datetime64[{_NUMPY_UNIT[span]}]")
        )
        return [str(one) for one in opened]


def list_bucket(below: Callable[[str, str], Iterator[str]], query: Mapping[str, str]) -> bytes:
    """The body of a listing. below: keys and folders by prefix and delimiter."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker, most = query.get("marker", ""), _asked(query.get("max-keys", ""))
    found = [name for name in sorted(set(below(prefix, delimiter))) if name > marker]
    page, cut = found[:most], len(found) > most
    keys = [f"<Contents><Key>{escape(one)}</Key></Contents>" for one in page if one[-1:] != "/"]
    folders = [
        f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>"
        for one in page
        if one.endswith("/")
    ]
    # The next marker is stated with a delimiter alone.
    following = f"<NextMarker>{escape(page[-1])}</NextMarker>" if cut and delimiter else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>data.binance.vision</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<Marker>{escape(marker)}</Marker>{following}<MaxKeys>{most}</MaxKeys>"
        f"<Delimiter>{escape(delimiter)}</Delimiter><IsTruncated>{str(cut).lower()}</IsTruncated>"
        f"{''.join(keys)}{''.join(folders)}</ListBucketResult>"
    ).encode()


def _asked(text: str) -> int:
    return min(int(text), _MOST_KEYS) if text.isdecimal() and int(text) else _MOST_KEYS
