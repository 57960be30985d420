"""Runs that the code of November 2026 wrote are found, shown, reported and replayed by today's."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.stages.verify import CODE_VERSION
from producers.cli import main

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "runs_of_2026_11.tar.xz"
MINED, SCORED = "mine-ae22ccbc9ce4e443", "evaluate-a9c282ed00f55409"


@pytest.fixture(scope="module")
def old_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "lake"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def alphamill(
    old_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """`alphamill("factors", ...)` with the old lake and no Redis; it exits with 0, or `exits`."""
    monkeypatch.setenv("ALPHAMILL_LAKE", str(old_lake))
    monkeypatch.setenv("ALPHAMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")

    def call(*arguments: str, exits: int = 0) -> Result:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == exits, result.output
        return result

    return call


# Figures of scores.2 whose sums have another order than before.
ADDED_UP_OTHERWISE = {"ic_mean", "icir"}


@pytest.mark.parametrize("run_id", [MINED, SCORED])
def test_the_same_question_still_has_the_same_id(old_lake: Path, run_id: str) -> None:
    """Who submits the old run again joins it, and pays nothing."""
    summary = json.loads(Lake(str(old_lake)).read_bytes(f"runs/run={run_id}/run.json"))
    assert RunSpec.from_message(summary["spec"]).run_id == run_id


def test_replay_says_that_the_values_are_of_another_version_and_how_little_they_differ(
    alphamill: Callable[..., Result],
) -> None:
    """Windows of version 1 were cut from a panel's first row: sums and moments ended otherwise.

    What has no such window differs only where a score's sum is added up in another order since,
    and no verdict and no text changes.
    """
    shown = json.loads(alphamill("replay", MINED, "--json", exits=1).stdout)
    assert (shown["trials"], shown["verdicts"], shown["equal"]) == (64, 10, False)
    assert shown["code"] == {"then": "0.1.0", "now": CODE_VERSION}
    assert 0 < shown["farthest"] < 1e-12
    differ = {
        row["row"]: {
            re.sub("^(discovery|validation|holdout)_", "", name) for name in row["columns"]
        }
        for row in shown["differences"]
        if row["table"] == "trials"
    }
    values = {text for text in differ if re.search(r"ts_(mean|std|zscore|slope|corr)\(", text)}
    assert values
    plain = {name for text in differ.keys() - values for name in differ[text]}
    assert plain == ADDED_UP_OTHERWISE | {"score"}  # whose text has them too
    told = alphamill("replay", MINED, exits=1).stderr
    assert "then by alphamill 0.1.0, now by" in told
    assert "in their last digits only" in told


def test_one_factor_is_computed_again(alphamill: Callable[..., Result]) -> None:
    of = {
        row["expression"]: row["hash"]
        for row in json.loads(alphamill("factors", "--run", MINED, "--json").stdout)["factors"]
    }
    plain = of["-delta(taker_buy_base / volume, 36)"]
    again = json.loads(alphamill("replay", plain, "--json", exits=1).stdout)
    differ = {row["column"].partition("_")[2] for row in again["differences"]}
    assert differ <= ADDED_UP_OTHERWISE | {"t"}  # residual_t, of sums over symbols
    assert again["farthest"] < 1e-14
    told = alphamill("replay", of["-ts_std(returns, 36)"], exits=1).stderr
    assert "in their last digits only" in told


def test_the_board_has_its_factors_and_what_belongs_to_them(
    alphamill: Callable[..., Result],
) -> None:
    shown = alphamill("factors", "--run", MINED).stdout
    assert "0 tradable, 0 predictive, 10 rejected" in shown
    assert "$0.002801 for 9 model calls" in " ".join(shown.split())


def test_given_expressions_are_shown_with_their_figures(alphamill: Callable[..., Result]) -> None:
    trials = json.loads(alphamill("factors", "--run", SCORED, "--json").stdout)["trials"]
    figures = {row["expression"]: round(row["rank_ic_mean"], 4) for row in trials}
    assert figures == {
        "-ts_zscore(close, 24)": -0.0543,
        "rank(volume / ts_mean(volume, 10))": 0.0471,
        "close": -0.1573,
        "delta(close, 300)": -0.0714,
    }


def test_a_report_is_written(alphamill: Callable[..., Result], tmp_path: Path) -> None:
    for run_id in (MINED, SCORED):
        page = tmp_path / f"{run_id}.html"
        alphamill("report", run_id, "--out", str(page))
        assert run_id in page.read_text(encoding="utf-8")


def test_the_funnel_and_the_library_are_read(alphamill: Callable[..., Result]) -> None:
    assert "calls answered" in alphamill("funnel", "--run", MINED).stdout
    alphamill("library", "list")
