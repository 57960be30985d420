"""A run over symbols whose names are not ASCII: prompts, files, tables and the page."""

from dataclasses import dataclass

import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.frames import Interval, Market
from alphamill.lake import manifest
from alphamill.lake.holdings import holdings_of
from alphamill.report.terminal.gaps import gaps_view
from alphamill.testing import work_market
from producers.cli import main
from tests.rendering import shown

WIDE = ("币安人生USDT", "ドージUSDT")


@dataclass(frozen=True, slots=True)
class Named(ControlMarket):
    """With two names of other scripts, whose letters take two cells of a terminal each."""

    @property
    def symbols(self):
        return ("BTCUSDT", *WIDE, "U2USDT")


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    market = Named(seed=0, n_symbols=4, n_bars=1500, ragged=False)
    search = Search(rounds=1, candidates=4, decoys=False)
    return work_market(tmp_path_factory.mktemp("lake"), market, search)


def test_the_run_is_whole_and_each_symbol_was_asked_about(worked):
    assert worked.record.state == "done"
    assert worked.dead == []
    said = [
        message.content for request in worked.mill.chat.requests for message in request.messages
    ]
    keys = worked.lake.list(f"runs/run={worked.spec.run_id}")
    for name in WIDE:
        assert any(f"Last bars of {name}, oldest first" in text for text in said)
        assert any(key.endswith(f"/{name}.parquet") for key in keys)


def test_tables_stay_aligned(worked):
    held = [
        holdings_of(manifest(worked.lake, Market.SPOT, name, Interval.H1))
        for name in worked.spec.symbols
    ]
    lines = shown(gaps_view(held, ()), 100).splitlines()
    rows = [line for line in lines if any(name in line for name in worked.spec.symbols)]
    assert len(rows) == 4
    assert len({cell_len(line[: line.index(" 1h ")]) for line in rows}) == 1
    assert len({line.index(" 1h ") for line in rows}) > 1  # counted in characters they would not be


def test_the_commands_and_the_page_show_them(worked, tmp_path):
    env = {"ALPHAMILL_HOME": str(tmp_path), "ALPHAMILL_LAKE": worked.spec.lake}
    table = CliRunner().invoke(main, ["factors", "--run", worked.spec.run_id], env=env)
    assert table.exit_code == 0, table.output
    out = tmp_path / "page.html"
    made = CliRunner().invoke(main, ["report", worked.spec.run_id, "--out", str(out)], env=env)
    assert made.exit_code == 0, made.output
    page = out.read_text(encoding="utf-8")
    assert all(name in page for name in WIDE)
