"""The table of groups that `evaluate --groups` reads."""

import click
import pytest
from click.testing import CliRunner

from producers.evaluate import evaluate
from producers.mine import mine
from producers.submit.groups import read_groups

SYMBOLS = ("BTCUSDT", "ETHUSDT", "UNIUSDT")


def table(tmp_path, text):
    path = tmp_path / "groups.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_a_label_a_symbol_and_group(tmp_path):
    path = table(
        tmp_path,
        "\ufeffsymbol,Sector,industry\nBTCUSDT,money,pow\n\nethusdt, chain ,\n"
        "UNIUSDT,defi,dex\nXRPUSDT,money,pay\n",
    )
    assert read_groups(path, SYMBOLS) == {
        "sector": {"BTCUSDT": "money", "ETHUSDT": "chain", "UNIUSDT": "defi"},
        "industry": {"BTCUSDT": "pow", "UNIUSDT": "dex"},  # ETHUSDT is in none
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the first line must read symbol,sector"),
        ("BTCUSDT,money\n", "the first line must read symbol,sector"),
        ("symbol,sector\nBTCUSDT,money\n", "lacks ETHUSDT, UNIUSDT"),
        ("symbol,sector\nBTCUSDT,a\nBTCUSDT,b\n", "BTCUSDT comes twice"),
        ("symbol,sector\nBTCUSDT,a,b\n", "2 short cells expected"),
        ("symbol,a b\nBTCUSDT,a\n", "column 'a b' cannot name a group"),
        ("symbol,a,A\nBTCUSDT,a,b\n", "column 'a' cannot name a group"),
    ],
)
def test_what_is_no_such_table_is_refused_by_name(tmp_path, text, problem):
    with pytest.raises(click.UsageError, match=problem):
        read_groups(table(tmp_path, text), SYMBOLS)


def test_a_missing_file_is_wrong_usage(tmp_path):
    with pytest.raises(click.UsageError, match="No such file"):
        read_groups(tmp_path / "none.csv", SYMBOLS)


RANGE = ["--symbols", "BTCUSDT", "--interval", "1h", "--start", "2022-01-01"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give expressions, or --zoo"),
        (["ts_maen(close, 5)"], "unknown operator 'ts_maen'; did you mean ts_mean?"),
        (["close / rsi_41"], "expected rsi_6 or rsi_14"),
        (["ts_mean(close)"], "needs (x, bars), as in close / ts_mean(close, 20); 1 argument given"),
        (
            ["group_rank(returns, banana)"],
            "no group table 'banana'; expected sector or industry or subindustry",
        ),
        (["group_rank(returns, banana)"], "a table is a column of the file given with --groups"),
        (["--zoo", "alpha191"], "alpha101"),
    ],
)
def test_evaluate_says_what_is_wrong_before_it_submits(arguments, words):
    done = CliRunner().invoke(evaluate, [*arguments, *RANGE])
    assert done.exit_code == 2
    assert words in done.output


def test_a_group_is_one_of_the_tables_given(tmp_path):
    given = ["--groups", str(table(tmp_path, "symbol,Beta\nBTCUSDT,a\n"))]
    refused = CliRunner().invoke(evaluate, ["group_rank(returns, bta)", *RANGE, *given])
    assert refused.exit_code == 2
    assert (
        "expected sector or industry or subindustry or beta; did you mean beta?" in refused.output
    )


def test_mine_takes_the_same_table(tmp_path, monkeypatch):
    monkeypatch.setattr("producers.submit.check_models", lambda _: None)
    asked = ["ETHUSDT", *RANGE[2:], "--groups", str(table(tmp_path, "symbol,sector\nBTCUSDT,a\n"))]
    done = CliRunner().invoke(mine, asked)
    assert done.exit_code == 2
    assert "lacks ETHUSDT" in done.output
