"""A zip of the archive unpacked piece by piece: the same bytes, and every fault of it found."""

import io
import os
import struct
import zipfile

import pytest

from alphamill.market.archive import PutAside
from alphamill.market.archive_zip import csv_pieces, only_csv

NAME = "X-trades-2024-01-01"
TEXT = b"".join(b"%d,%d.25,3.125,1,1704067200000,true\n" % (n, n % 977) for n in range(150_000))


def zipped(text=TEXT, method=zipfile.ZIP_DEFLATED, names=(f"{NAME}.csv",)):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name in names:
            archive.writestr(name, text)
    return sink.getvalue()


def unpacked(content):
    return b"".join(csv_pieces(io.BytesIO(content), f"{NAME}.csv"))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_the_pieces_are_the_file_and_small(method):
    pieces = list(csv_pieces(io.BytesIO(zipped(method=method)), f"{NAME}.csv"))
    assert b"".join(pieces) == TEXT == only_csv(zipped(), f"{NAME}.csv")
    assert len(pieces) > 3
    assert max(map(len, pieces)) <= 1 << 20


def test_what_unpacks_to_a_thousand_times_its_size_comes_in_small_pieces_too():
    content = zipped(b"0" * 50_000_000)
    assert len(content) < 100_000
    pieces = csv_pieces(io.BytesIO(content), f"{NAME}.csv")
    sizes = [len(piece) for piece in pieces]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 1 << 20


@pytest.mark.parametrize("text", [b"", b"1"])
def test_files_of_next_to_nothing(text):
    assert unpacked(zipped(text)) == text


def with_sum(content, value):
    """The same zip with another CRC in its directory."""
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 16] + struct.pack("<I", value) + content[at + 20 :]


def with_size(content, value):
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 24] + struct.pack("<I", value) + content[at + 28 :]


def with_noise(content):
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (with_sum(zipped(), 1), "its CSV is not the one that was packed"),
        (with_size(zipped(), 1000), "its CSV is not the one that was packed"),
        (with_size(zipped(), len(TEXT) + 1), "its CSV is not the one that was packed"),
        (with_noise(zipped()), "it does not unpack|not the one that was packed"),
        (zipped()[:1000], "it is not a zip"),
        (b"", "it is not a zip"),
        (zipped(names=("other.csv",)), "it holds .'other.csv'., not X-trades-2024-01-01.csv alone"),
        (zipped(b"1", names=(f"{NAME}.csv", "more.csv")), "alone"),
        (zipped(b"1", method=zipfile.ZIP_BZIP2), "compressed by method 12"),
    ],
)
def test_a_zip_that_is_not_what_it_should_be_is_said_in_words(content, says):
    with pytest.raises(ValueError, match=says):
        unpacked(content)


def test_a_damaged_file_is_kept_if_it_is_small_and_named_if_it_is_big(tmp_path):
    cut = zipped()[:1000]
    small = PutAside(NAME, io.BytesIO(cut), checked=True, sha256="ab")
    with pytest.raises(Exception, match=f"{NAME}: it is not a zip") as found:
        list(small.pieces())
    assert found.value.content == cut
    assert found.value.expected == "ab"
    with (tmp_path / "big").open("w+b") as sparse:
        os.truncate(sparse.fileno(), 33 * 2**20)
        big = PutAside(NAME, sparse, checked=True, sha256="")
        assert big.damaged("cut").content == b""
