from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.llm.replies import (
    Candidate,
    Proposal,
    Verification,
    json_schema,
    read_proposal,
    read_repairs,
    read_review,
)

ROWS = [
    {"expression": "rank(close)", "hypothesis": "why", "horizon_bars": 4, "direction": "positive"},
    {"expression": "delta(close, 3)", "hypothesis": "", "horizon_bars": None, "direction": None},
]
TWO = (Candidate("rank(close)", "why", 4, "positive"), Candidate("delta(close, 3)"))
STRICT = json.dumps({"candidates": ROWS})


@pytest.mark.parametrize(
    "text",
    [
        STRICT,
        f"```json\n{STRICT}\n```",
        f"Sure! Here are my ideas [1]:\n\n{STRICT}\n\nHope this helps :)",
        f"<think>let me see: {{a set}}</think>{STRICT}",
        json.dumps(ROWS),
        json.dumps({"factors": ROWS}),
        "\n".join(json.dumps(row) for row in ROWS),
        json.dumps({"candidates": [*ROWS, ROWS[0]]}),
    ],
)
def test_every_wrapping_gives_the_same_candidates(text: str) -> None:
    assert read_proposal(text, "stop").candidates == TWO


def test_a_clean_reply_has_no_problems() -> None:
    assert read_proposal(STRICT, "stop").problems == ()


def test_a_reply_cut_anywhere_keeps_every_expression_that_was_closed() -> None:
    closed = [STRICT.index(f'"{row["expression"]}"') + len(row["expression"]) + 2 for row in ROWS]
    whole = [STRICT.index("}", place) + 1 for place in closed]
    for end in range(len(STRICT)):
        candidates, problems = read_proposal(STRICT[:end], "length")
        assert [one.expression for one in candidates] == [
            row["expression"] for row, place in zip(ROWS, closed, strict=True) if end >= place
        ]
        assert [one.cut for one in candidates] == [
            end < place for place, _ in zip(whole, candidates, strict=False)
        ]
        for candidate, row in zip(candidates, ROWS, strict=False):
            assert candidate.hypothesis in ("", row["hypothesis"])
            assert candidate.horizon_bars in (None, row["horizon_bars"])
        assert [problem.reason for problem in problems] == ["the reply was cut at max_tokens"]


# What a model may put in a string: its own quotes, brackets, and JSON that looks like an answer.
tricky = st.text(st.sampled_from('ab "\\{}[]:,\n'), max_size=12) | st.sampled_from(
    ['{"expression": "evil"}', '["evil"]', '"}, {"expression": "evil', "\\", "}]}"]
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"hypothesis": tricky, "horizon_bars": st.none() | st.integers(1, 99)},
            optional={"rank": st.lists(st.integers(), max_size=2), "why": tricky},
        ),
        min_size=1,
        max_size=4,
    ),
    where=st.integers(0, 3),
    indent=st.sampled_from([None, 1]),
    wrap=st.sampled_from(["{}", "Here:\n```json\n{}", '{{"candidates": {}, "note": "x"}}']),
)
def test_cutting_a_good_reply_at_any_character_loses_and_invents_nothing(
    rows: list[dict[str, Any]], where: int, indent: int | None, wrap: str
) -> None:
    named = []
    for number, row in enumerate(rows):
        members = list(row.items())
        members.insert(where, ("expression", f"delay(close, {number + 1})"))
        named.append(dict(members))
    text = wrap.format(json.dumps(named, indent=indent))
    for end in range(len(text) + 1):
        said = [
            f"delay(close, {n + 1})"
            for n in range(len(rows))
            if f'"expression": "delay(close, {n + 1})"' in text[:end]
        ]
        candidates = read_proposal(text[:end], "length").candidates
        assert [one.expression for one in candidates] == said
        assert sum(one.cut for one in candidates) <= 1


@pytest.mark.parametrize(
    "behind", ['"hypothesis": oops}', '"hypothesis": "why', '"horizon_bars": 4', '"x" "y"}', "...}"]
)
def test_damage_behind_an_expression_costs_what_is_behind_it(behind: str) -> None:
    text = '{"candidates": [{"expression": "rank(close)", ' + behind
    candidates, problems = read_proposal(f"{text}, {json.dumps(ROWS[1])}]}}")
    assert [(one.expression, one.cut) for one in candidates] == [
        ("rank(close)", True),
        ("delta(close, 3)", False),
    ]
    assert problems[0].reason == "the reply's JSON is damaged"


def test_a_cut_repair_needs_its_number_and_its_expression() -> None:
    text = '{"repairs": [{"index": 1, "expression": "close"}, {"index": 2, "expression": "open"'
    assert read_repairs(text, "length", 2).mended == {0: "close", 1: "open"}
    assert read_repairs(text[:-1], "length", 2).mended == {0: "close"}
    assert (
        read_repairs('[{"expression": "close", "index": 1', "length", 20).mended == {}
    )  # it may have been 12


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (7, "a candidate is not an object"),
        ({"hypothesis": "no expression"}, "expression"),
        ({"expression": ""}, "expression"),
        ({"expression": ["close"]}, "expression"),
        ({"expression": "x" * 501}, "expression"),
    ],
)
def test_a_bad_candidate_is_named_and_the_others_count(row: Any, reason: str) -> None:
    candidates, problems = read_proposal(json.dumps({"candidates": [ROWS[0], row]}))
    assert candidates == TWO[:1]
    assert reason in problems[0].reason


@pytest.mark.parametrize(
    "hint", [{"horizon_bars": "soon"}, {"horizon_bars": -1}, {"direction": "up"}, {"direction": 3}]
)
def test_a_bad_hint_costs_nothing(hint: dict[str, Any]) -> None:
    candidates, problems = read_proposal(json.dumps([{"expression": "close"} | hint]))
    assert (candidates, problems) == ((Candidate("close"),), ())


def test_text_is_one_printable_line_of_limited_length() -> None:
    row = {"expression": "rank(\x00clo\u202ese,\n 3)", "hypothesis": "\ud800why\x1b[31m " * 200}
    ((candidate,), _) = read_proposal(json.dumps([row]))
    assert candidate.expression == "rank(close, 3)"
    assert candidate.hypothesis.isprintable()
    assert len(candidate.hypothesis) <= 500
    candidate.hypothesis.encode()


def test_strings_alone_are_expressions() -> None:
    assert read_proposal('["close", "open"]').candidates == (Candidate("close"), Candidate("open"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the reply is empty"),
        ("I cannot help with that.", "no JSON in the reply"),
        ('{"candidates": []}', "no candidates in the reply"),
        ('{"candidates": null}', "no candidates in the reply"),
    ],
)
def test_nothing_of_use_says_so(text: str, reason: str) -> None:
    assert read_proposal(text).problems[0].reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 50_000,
        "{" * 200_000,
        '{"a":[0,' * 30_000,
        '{"' * 100_000,
        '[{"expression":' * 20_000,
        "9" * 100_000,
        '{"expression": ' + "9" * 50_000 + "}",
        '[{"expression": NaN}, {"expression": 1e999}]',
        json.dumps([{"expression": f"close + {n}"} for n in range(3_000)]),
    ],
)
@pytest.mark.timeout(120)  # one of these could take hours if reading were quadratic
def test_hostile_text_is_read_without_harm(text: str) -> None:
    candidates, problems = read_proposal(text, "stop")
    read_review(text, "stop", 3)
    assert len(candidates) <= 64
    assert problems


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["candidates", "expression", "keep", "veto", "index", "reason", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid reply or any JSON, with pieces cut out, doubled or replaced by noise."""
    text = draw(st.just(STRICT) | json_values.map(json.dumps) | st.text())
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted(draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        middle = draw(st.sampled_from(["", text[start:end] * 2, "{", "]", '"', "\\", "\x00"]))
        text = text[:start] + middle + text[end:]
    return text


@settings(max_examples=400, deadline=None)
@given(text=mutated(), finish=st.sampled_from(["stop", "length", ""]), n=st.integers(0, 5))
def test_no_text_raises_and_what_is_read_is_in_bounds(text: str, finish: str, n: int) -> None:
    for candidate in read_proposal(text, finish).candidates:
        assert 1 <= len(candidate.expression) <= 500
        assert len(candidate.hypothesis) <= 500
        assert candidate.expression.isprintable()
    keep, veto, _ = read_review(text, finish, n)
    assert len(keep) <= 3
    assert set(keep) | set(veto) <= set(range(n))
    assert not set(keep) & set(veto)


def test_a_review_counts_from_one_and_a_veto_beats_a_keep() -> None:
    reply = {"keep": [1, 2, 9, "x", True], "veto": [{"index": 2, "reason": "repeats\n1"}, {}]}
    keep, veto, problems = read_review(f"Well: {json.dumps(reply)}", "stop", 4)
    assert keep == (0,)
    assert veto == {1: "repeats 1"}
    assert len(problems) == 4  # 9, "x", True, and the veto without a number


def test_a_cut_review_keeps_its_whole_vetoes() -> None:
    text = '{"keep": [1], "veto": [{"index": 3, "reason": "luck"}, {"index": 4, "rea'
    assert read_review(text, "length", 4).veto == {2: "luck"}


def test_the_schemas_are_strict() -> None:
    for model in (Proposal, Verification):
        for node in _objects(json_schema(model)):
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])


def test_the_schemas_accept_what_the_models_write() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(STRICT), json_schema(Proposal))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"candidates": [{"expression": "close"}]}, json_schema(Proposal))
    reply = {"keep": [1], "veto": [{"index": 2, "reason": "luck"}]}
    jsonschema.validate(reply, json_schema(Verification))


def _objects(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in node for found in _objects(item)]
    if not isinstance(node, dict):
        return []
    inner = [found for item in node.values() for found in _objects(item)]
    return [node, *inner] if node.get("type") == "object" else inner
