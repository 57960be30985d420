"""Every file and folder that docs/map.md names is there."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def rows() -> list[list[str]]:
    """The paths of each row: those after the first may lie below it."""
    table = (REPOSITORY / "docs" / "map.md").read_text(encoding="utf-8")
    lines = [line.split("|")[2] for line in table.splitlines() if line.startswith("| ")]
    return [paths for line in lines if (paths := re.findall(r"`([\w/.*]+)`", line))]


def test_the_table_has_a_row_for_every_room() -> None:
    assert len(rows()) >= 14


def test_every_path_is_there() -> None:
    for first, *others in rows():
        assert list(REPOSITORY.glob(first)), first
        below = REPOSITORY / first.split("*")[0].rpartition("/")[0]
        for other in others:
            assert list(REPOSITORY.glob(other)) or list(below.glob(other)), other
