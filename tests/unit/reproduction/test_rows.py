"""When a figure agrees, what is counted as a failure, and where figures are read from."""

import math

import pytest

from alphamill.errors import GiveUp
from alphamill.report.terminal.reproduction import summary
from alphamill.reproduction import Reproduction, Row, State, source_of


@pytest.mark.parametrize(
    ("published", "ours", "state"),
    [
        ("-0.48", -0.4786, State.AGREES),
        ("-0.48", -0.4849, State.AGREES),
        ("-0.48", -0.4851, State.DIFFERS),
        ("0.48", -0.48, State.DIFFERS),
        ("25", 25.0, State.AGREES),
        ("25", 25.6, State.DIFFERS),
        ("2.5", 2.55, State.AGREES),  # a tie of two roundings
        ("2.5", math.nan, State.DIFFERS),
        ("2.5", math.inf, State.DIFFERS),
        ("2.5", None, State.UNCHECKED),
        ("", 2.5, State.SHOWN),
    ],
)
def test_a_row_agrees_to_the_last_printed_digit(published, ours, state):
    assert Row("a figure", published, ours).state is state


def test_what_is_known_to_differ_fails_nothing_and_still_agrees_where_it_does():
    known = Row("a", "1.0", 2.0, known="the study's prices were others")
    assert known.state is State.KNOWN
    assert Row("a", "1.0", 1.04, known="as before").state is State.AGREES
    rows = [known, Row("b", "1.0", None, "no bars"), Row("c", "", 3.0)]
    found = Reproduction("x", (), rows)
    assert not found.failed
    assert summary(found) == "x: 3 rows: 1 differ as is known, 1 not checked, 1 ours alone"
    assert Reproduction("x", (), [*rows, Row("d", "1.0", 2.0)]).failed


def test_a_figure_that_is_no_number_is_null_in_json():
    found = Row("a", "1.0", math.nan).to_dict()
    assert found["ours"] is None
    assert found["state"] == "differs"


def test_a_source_names_the_clone_and_takes_only_its_own_bytes(tmp_path):
    (source,) = source_of("momentum-2026")
    with pytest.raises(GiveUp, match=r"No such file.*git clone https://github.com/prams2104"):
        source.file(str(tmp_path), "data_px.csv")
    (tmp_path / "data_px.csv").write_text("another")
    with pytest.raises(GiveUp, match="not the file of commit ca3b566"):
        source.file(str(tmp_path), "data_px.csv")
