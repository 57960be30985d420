"""The manual that `alphamill operators` prints: whole, from the records."""

from click.testing import CliRunner

from alphamill.factors import OPERATORS, parse
from alphamill.indicators import INDICATORS
from alphamill.language import FIELD_UNITS, GIVEN_GROUPS
from producers.read.language import operators


def test_it_names_every_operator_indicator_and_usual_group():
    done = CliRunner().invoke(operators)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    for name, unit in FIELD_UNITS.items():
        assert f"  {name} ({unit}): {INDICATORS[name].summary}" in lines
    for operator in OPERATORS.values():
        assert any(line.endswith(f"Example: {operator.example}") for line in lines)
    assert ", ".join(GIVEN_GROUPS) in done.output


def test_what_binds_first_is_as_it_says():
    loose_to_tight = "open > close ? -high ^ 2 * low + 1 : not open < 1 and close > 1 or high > 1"
    bracketed = (
        "(open > close) ? ((((-(high ^ 2)) * low) + 1)) : (((not (open < 1)) and (close > 1)) "
        "or (high > 1))"
    )
    assert parse(loose_to_tight).hash == parse(bracketed).hash
