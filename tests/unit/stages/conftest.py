"""What tests of stages share; bars, runs and mills are in `alphamill.testing`."""

from pathlib import Path

import pytest

from alphamill.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(str(tmp_path / "lake"))
