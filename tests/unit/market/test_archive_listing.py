"""The archive's listing, page by page, and what is no listing."""

from types import SimpleNamespace

import pytest

from alphamill.clock import ManualClock
from alphamill.errors import Misconfigured, RetryLater
from alphamill.frames import Market
from alphamill.market.archive_index import ArchiveIndex
from alphamill.sim.exchange.archive_listing import ArchiveKeys, list_bucket
from tests.mortal_market import MortalMarket, life

SOURCE = MortalMarket(
    {name: life("2023-01", "2023-04") for name in ("BTCUSDT", "ETHUSDT", "MATICUSDT", "XMRUSDT")}
)
MONTHLY = "data/spot/monthly/klines/"


class Bucket:
    """A session that answers as the simulated archive does, in small pages."""

    def __init__(self, most=1000, replies=()):
        self.most, self.replies, self.asked = most, list(replies), []

    def get(self, url, params, **_how):
        self.asked.append((url, params))
        reply = self.replies.pop(0) if self.replies else None
        if isinstance(reply, Exception):
            raise reply
        if reply is not None:
            return SimpleNamespace(status_code=200, content=reply)
        below = ArchiveKeys(SOURCE, lambda _path: True).below
        body = list_bucket(below, params | {"max-keys": str(self.most)})
        return SimpleNamespace(status_code=200, content=body)


def index_of(bucket, url="http://127.0.0.1:1"):
    return ArchiveIndex(url, ManualClock(), session=bucket)


@pytest.mark.parametrize("most", [1, 2, 3, 1000])
def test_every_page_is_read(most):
    bucket = Bucket(most)
    index = index_of(bucket)
    assert [*index.folders(MONTHLY)] == [*SOURCE.symbols(Market.SPOT)]
    keys = [*index.names(f"{MONTHLY}XMRUSDT/1d/")]
    months = [f"XMRUSDT-1d-2023-0{month}.zip" for month in (1, 2, 3, 4)]
    assert keys == sorted([*months, *(f"{name}.CHECKSUM" for name in months)])
    assert len(bucket.asked) == -(-4 // most) + -(-8 // most)


def test_a_listing_goes_on_after_a_key():
    daily = "data/spot/daily/klines/XMRUSDT/1d/"
    found = [*index_of(Bucket()).names(daily, f"{daily}XMRUSDT-1d-2023-04-29")]
    assert [name for name in found if name.endswith("zip")] == [
        "XMRUSDT-1d-2023-04-29.zip",
        "XMRUSDT-1d-2023-04-30.zip",
    ]


def test_binances_own_archive_is_listed_where_its_bucket_is():
    bucket = Bucket()
    assert [*index_of(bucket, "https://data.binance.vision/").folders(MONTHLY)]
    (url, params), *_ = bucket.asked
    assert url == "https://s3-ap-northeast-1.amazonaws.com/data.binance.vision/"
    assert params == {"delimiter": "/", "prefix": MONTHLY}


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE html><html>for people</html>",
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>",
    ],
)
def test_what_is_no_listing_is_named_with_its_setting(body):
    with pytest.raises(Misconfigured, match=r"ALPHAMILL_ARCHIVE_URL.*does not list its keys"):
        list(index_of(Bucket(replies=[body])).folders(MONTHLY))


def test_a_page_that_breaks_off_is_asked_for_again_and_then_said():
    whole = list_bucket(ArchiveKeys(SOURCE, lambda _path: True).below, {"prefix": MONTHLY})
    cut = whole[: len(whole) // 2]
    assert [*index_of(Bucket(replies=[cut])).folders(MONTHLY)]
    with pytest.raises(RetryLater, match="breaks off"):
        list(index_of(Bucket(replies=[cut] * 3)).folders(MONTHLY))


def test_a_listing_in_a_circle_ends():
    page = (
        b"<?xml version='1.0'?><ListBucketResult><IsTruncated>true</IsTruncated>"
        b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes></ListBucketResult>"
    )
    with pytest.raises(RetryLater, match="in a circle"):
        list(index_of(Bucket(replies=[page] * 5)).folders("a"))
