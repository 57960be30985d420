"""`alphamill reproduce`: names, exit codes, what is said where data is lacking."""

import json

import pytest
from click.testing import CliRunner

from alphamill.reproduction import Reproduction, Row
from producers.check import reproduce as command
from producers.cli import main


def run(*words, **env):
    return CliRunner().invoke(main, ["reproduce", *words], env=env)


def test_alone_it_lists_the_names_and_what_each_needs():
    told = run()
    assert told.exit_code == 0
    for name, one in command.NAMES.items():
        assert f"{one.what}; needs {one.needs}" in told.stdout
        assert any(line.startswith(name) for line in told.stdout.splitlines())
    assert set(json.loads(run("--json").stdout)) == set(command.NAMES)


def test_the_statistics_need_no_lake(tmp_path):
    told = run("statistics", "--json", ALPHAMILL_LAKE=str(tmp_path / "absent"))
    assert told.exit_code == 0
    found = json.loads(told.stdout)
    assert found["counts"]["agrees"] == len(found["rows"]) == 25
    assert found["sources"][0]["read"] == "2026-11-20"
    assert "statistics: 25 rows: 25 agree" in run("statistics").stdout


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([Row("a", "1.0", 1.0), Row("b", "1.0", None, "no bars")], 0),
        ([Row("a", "1.0", 1.0), Row("b", "1.0", 2.0)], 1),
        ([Row("a", "1.0", 1.0), Row("b", "1.0", 2.0, known="so it is")], 0),
        ([Row("b", "1.0", None, "no bars")], 1),
    ],
)
def test_the_exit_code_says_whether_a_figure_is_another_or_none_could_be_checked(
    monkeypatch, rows, code
):
    found = Reproduction("x", (), rows, cures=["bring it"])
    stand_in = command.Published("x", "nothing", lambda _asked: found)
    monkeypatch.setitem(command.NAMES, "statistics", stand_in)
    told = run("statistics")
    assert told.exit_code == code
    assert "bring it" in told.stdout


def test_without_a_clone_one_line_says_how_to_get_it():
    told = run("momentum-2026")
    assert told.exit_code == 1
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1
    assert "git clone https://github.com/prams2104/crypto-momentum-backtest" in told.stderr
    assert "alphamill reproduce momentum-2026 --source crypto-momentum-backtest" in told.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("statistics", "--source", "x"), "statistics reads no study's repository"),
        (("momentum-2026", "--symbols"), "momentum-2026 reads no symbols of the lake"),
        (("horizon",), "'horizon' is not one of 'horizons', 'momentum-2026'"),
    ],
)
def test_what_a_name_does_not_read_is_refused(words, said):
    told = run(*words)
    assert told.exit_code == 2
    assert said in told.stderr


def test_symbols_of_bands_need_the_lakes_daily_bars_and_say_so(tmp_path):
    told = run("alpha101", "--symbols", "--lake", str(tmp_path))
    assert told.exit_code == 1
    assert told.stderr.startswith(
        "the lake has no list of all symbols, dead ones too; alphamill fe"
    )
    assert told.stderr.count("\n") == 1
