"""A reply's answer is what stands last and outside thoughts; what cannot be read of it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.llm.replies import read_proposal, read_repairs, read_review

DRAFT_FACTORS = {"candidates": [{"expression": "draft(close)"}, {"expression": "draft(open)"}]}
DRAFT_REVIEW = {"keep": [3], "veto": [{"index": 1, "reason": "a draft"}]}
DRAFT_REPAIRS = {"repairs": [{"index": 1, "expression": "draft(close)"}]}
DRAFTS = (DRAFT_FACTORS, DRAFT_REVIEW, DRAFT_REPAIRS)

TAGS = [
    ("<think>", "</think>"),
    ("<THINKING>\n", "\n</THINKING>"),
    ("<seed:think>", "</seed:think>"),
    ('<thought kind="plan">', "</thought>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
WORDS = st.sampled_from(
    [
        "Let me see.",
        "The set {a, b} and the list [1, 2] {x",
        'It said "keep',
        "\\frac{1}{2}, $x_{t-1}$",
        "a < b, 3 > 2; `f(x)`",
        '{"windows": [5, 10]}',
        '{"note": "none"}',
    ]
)


def draft_text(kind: int) -> st.SearchStrategy[str]:
    """A draft of the answer: whole, fenced, a row of it, or one that broke off."""
    whole = json.dumps(DRAFTS[kind])
    (rows,) = [list(rows) for name, rows in DRAFTS[kind].items() if name != "keep"]
    row = json.dumps(rows[0])
    forms = [whole, f"```json\n{whole}\n```", row, f"[{row}]", whole[:-2], f"{row}, {row[:-4]}"]
    return st.sampled_from(forms)


@st.composite
def thoughts(draw: st.DrawFn, kind: int) -> str:
    opening, closing = draw(st.sampled_from(TAGS))
    inside = draw(st.lists(WORDS | draft_text(kind), max_size=4))
    return opening + " ".join(inside) + closing


@st.composite
def replies(draw: st.DrawFn, kind: int, answer: str) -> str:
    """An answer among thoughts, quotes and remarks; before it also drafts and first answers."""
    quote = draft_text(kind).filter(lambda text: "\n" not in text).map(lambda text: f"> {text}")
    around = WORDS | quote | thoughts(kind)
    earlier = draft_text(kind).map(lambda text: f"{text}\nNo, that is wrong:")
    before = draw(st.lists(around | earlier, max_size=4))
    if draw(st.booleans()):
        first = draw(st.lists(WORDS | draft_text(kind), max_size=3))
        before = ["\n".join([*first, draw(st.sampled_from(TAGS))[1]]), *before]
    wrapped = draw(
        st.sampled_from(["{}", "```json\n{}\n```", "The answer: {}", "<answer>{}</answer>"])
    )
    behind = draw(st.lists(around, max_size=3))
    return "\n".join([*before, wrapped.replace("{}", answer), *behind])


def written(value: Any) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(value), json.dumps(value, indent=2)])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_of_a_proposal_the_final_answer_alone_is_read(data: st.DataObject) -> None:
    said = ["-rank(close)", "ts_mean(returns, 3) - 0.5", "</think> [ {"][
        : data.draw(st.integers(0, 3))
    ]
    answer = data.draw(written({"candidates": [{"expression": one} for one in said]}))
    text = data.draw(replies(0, answer))
    candidates, problems = read_proposal(text)
    assert [one.expression for one in candidates] == said
    assert [one.reason for one in problems] == ([] if said else ["no candidates in the reply"])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_of_a_review_the_final_answer_alone_counts(data: st.DataObject) -> None:
    veto = {1: "<think> of luck"} if data.draw(st.booleans()) else {}
    rows = [{"index": at + 1, "reason": why} for at, why in veto.items()]
    answer = data.draw(written({"keep": [1], "veto": rows}))
    assert read_review(data.draw(replies(1, answer)), "stop", 3) == ((0,), veto, ())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_of_repairs_the_final_answer_alone_counts(data: st.DataObject) -> None:
    rows = [{"index": 2, "expression": "-returns"}, {"index": 1, "expression": None}]
    answer = data.draw(written({"repairs": rows}))
    reading = read_repairs(data.draw(replies(2, answer)), "stop", 2)
    assert (reading.mended, reading.unread) == ({0: None, 1: "-returns"}, {})


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_thoughts_alone_are_no_answer(data: st.DataObject) -> None:
    kind = data.draw(st.integers(0, 2))
    blocks = data.draw(st.lists(thoughts(kind), min_size=1, max_size=3))
    if data.draw(st.booleans()):  # cut while it thought
        blocks.append(data.draw(thoughts(kind)).rpartition("</")[0] or "<think>")
    if data.draw(st.booleans()):  # the opening mark stayed in the prompt
        blocks[0] = f"{data.draw(draft_text(kind))} {data.draw(st.sampled_from(TAGS))[1]}"
    text = "\n".join(blocks)
    read = read_proposal(text), read_review(text, "stop", 3), read_repairs(text, "stop", 3)
    assert read[0].candidates == ()
    assert (read[1].keep, read[1].veto) == ((), {})
    assert read[2].mended == {}
    for problems in (read[0].problems, read[1].problems):
        assert [one.reason for one in problems] == ["no JSON outside the model's thoughts"]


def test_a_draft_veto_in_thoughts_rejects_nothing() -> None:
    draft = 'Maybe {"keep":[2],"veto":[{"index":1,"reason":"luck?"}]}. No, 1 is fine.'
    for opening in ("<think>", ""):
        text = f'{opening}{draft}</think>{{"keep":[1,2],"veto":[]}}'
        assert read_review(text, "stop", 3) == ((0, 1), {}, ())


def test_an_example_of_the_prompt_is_not_its_answer() -> None:
    example = '{"keep": [1, 2, 3], "veto": [{"index": 4, "reason": "repeats 2 in other words"}]}'
    text = f'You want {example}. {{"keep": [2], "veto": []}}'
    assert read_review(text, "stop", 4) == ((1,), {}, ())


def test_long_thoughts_full_of_brackets_hide_no_answer() -> None:
    text = "<think>" + "{x} [y] {" * 20_000 + '</think>{"candidates": [{"expression": "close"}]}'
    assert [one.expression for one in read_proposal(text).candidates] == ["close"]


@pytest.mark.timeout(120)
def test_thoughts_that_take_too_long_to_decode_hide_no_answer() -> None:
    text = '[{"a": [0, ' * 8_000 + '</think>{"keep": [], "veto": [{"index": 1, "reason": "x"}]}'
    assert read_review(text, "stop", 3).veto == {0: "x"}


CLOSE, OPEN = '{"expression": "close"}', '{"expression": "open"}'


@pytest.mark.parametrize(
    "text",
    [
        f"{CLOSE}\n{OPEN}",
        '1. {"expression": "close"}\n2. {"expression": "open"}',
        'Candidate 1:\n```json\n{"expression": "close"}\n```\n2:\n```\n{"expression": "open"}```',
        '{"candidates": {"a": {"expression": "close"}, "b": {"expression": "open"}}}',
        '[{"candidates": [{"expression": "close"}, {"expression": "open"}]}]',
        '{"answer": {"candidates": ["close", "open"]}, "confidence": 1}',
        '{"candidates"：［{"expression"： "close"}，{"expression"："open"}］｝',
        f'First: {{"expression": "draft"}}. No, rather:\n{CLOSE}, {OPEN}',
        f'{{"candidates": [{{"expression": "draft"}}, {{"expr\nAgain:\n[{CLOSE}, {OPEN}]',
        f'{{"candidates": [{CLOSE[:-1]}, "parts": [{{"x": oops}}]}}, {OPEN}]}}',
        f'{{"candidates": [{CLOSE}]}}\n{{"candidates": [{OPEN}]}}',
        f"**1.** `{CLOSE}` - momentum\n\n**2.** `{OPEN}` - reversal",
        f"### Candidate 1: Up\n```json\n{CLOSE}\n```\n### Candidate 2: Down\n```json\n{OPEN}\n```",
        f'{CLOSE}, {OPEN}\nThe form was {{"expression": "..."}}.',
        f'[{CLOSE}, {OPEN}]\nThe form was {{"candidates": [{{"expression": "…"}}]}}.',
        f"1. [{CLOSE}]\n2. [{OPEN}]",
        f'{CLOSE[:-1]}, "hypothesis": oops}}\n{OPEN}',
        f'{{"candidates": ["draft"]}} Wait. {{"candidates": [{CLOSE}, {OPEN[:-1]}, ',
    ],
)
def test_rows_of_one_answer_belong_together(text: str) -> None:
    assert [one.expression for one in read_proposal(text).candidates] == ["close", "open"]


def test_rows_with_words_between_are_drafts_but_the_last_and_said_to_be() -> None:
    candidates, problems = read_proposal(f"First {CLOSE}, but no, rather {OPEN}")
    assert [one.expression for one in candidates] == ["open"]
    (problem,) = problems
    assert problem.reason == "rows apart from the answer are not read"
    assert "expression='close'" in problem.excerpt
    again = read_proposal(f'{{"candidates": [{CLOSE}, {OPEN}]}} My favourite is {OPEN}.')
    assert ([one.expression for one in again.candidates], again.problems) == (["close", "open"], ())


def test_one_candidate_in_place_of_a_list_is_read() -> None:
    for named in ({"expression": "close"}, ["close"], "close"):
        assert read_proposal(json.dumps({"candidates": named})).candidates[0].expression == "close"


@pytest.mark.parametrize(
    "number", ["2", " 2 ", "2.0", "#2", "factor 2", "No. 2", "２", 2.0, 2, [2]]
)
def test_a_number_is_read_however_it_is_written(number: Any) -> None:
    row = {"index": number, "reason": "luck"}
    for veto in ([row], row):
        reply = json.dumps({"keep": [1], "veto": veto})
        assert read_review(reply, "stop", 3) == ((0,), {1: "luck"}, ())
    repair = {"index": number, "expression": "close"}
    for repairs in ([repair], repair):
        assert read_repairs(json.dumps({"repairs": repairs}), "stop", 2).mended == {1: "close"}
    assert read_review(json.dumps({"keep": number, "veto": []}), "stop", 3).keep == (1,)


@pytest.mark.parametrize(
    ("veto", "read"),
    [
        (2, {1: ""}),
        ([2, 3], {1: "", 2: ""}),
        ({"2": "luck", "3": "old"}, {1: "luck", 2: "old"}),
        ([{"index": [2, 3], "reason": "alike"}], {1: "alike", 2: "alike"}),
        ([{"index": 2, "reason": None}], {1: ""}),
        ("none", {}),
        (None, {}),
        ([], {}),
    ],
)
def test_a_veto_is_read_as_it_is_meant(veto: Any, read: dict[int, str]) -> None:
    assert read_review(json.dumps({"keep": [], "veto": veto}), "stop", 3) == ((), read, ())


def test_both_halves_of_a_review_count() -> None:
    text = '{"veto": [{"index": 2, "reason": "luck"}]}\n{"keep": [1]}'
    assert read_review(text, "stop", 3) == ((0,), {1: "luck"}, ())


def test_a_review_that_is_said_twice_is_what_it_says_last() -> None:
    text = '{"keep": [2], "veto": [{"index": 1, "reason": "x"}]}\n{"keep": [1], "veto": []}'
    assert read_review(text, "stop", 3) == ((0,), {}, ())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"keep": [], "veto": [{"index": "the first", "reason": "x"}]}', "no number that can"),
        ('{"keep": [], "veto": [{"index": 1.5, "reason": "x"}]}', "no number that can be read"),
        ('{"keep": [], "veto": [{"index": 9, "reason": "x"}]}', "no number 9 among 3"),
        ('{"keep": [], "veto": [{"factor": 1, "reason": "x"}]}', "no number that can be read"),
        ('{"keep": [], "veto": "all of them"}', "no number that can be read: all of them"),
        ('{"vetoed": [1]}', "it names neither keep nor veto"),
        ("[1, 2]", "it names neither keep nor veto"),
        (
            '{"keep": [1], "veto": []} And {"index": 2, "reason": "x"}.',
            "rows apart from the answer",
        ),
        ('{"keep": [1], "veto": []} Or: {"keep": [', "the reply's JSON is damaged"),
        ("{'keep': [1], 'veto': [{'index': 2}]}", "no JSON in the reply"),
        ("I veto the first.", "no JSON in the reply"),
    ],
)
def test_what_cannot_be_read_of_a_review_is_a_problem(text: str, problem: str) -> None:
    review = read_review(text, "stop", 3)
    assert review.veto == {}
    assert [str(one)[: len(problem)] for one in review.problems] == [problem]


def test_each_repair_that_is_not_read_has_its_reason() -> None:
    rows = [
        {"index": 1, "expression": ["close"]},
        {"index": "two", "expression": "open"},
        {"index": 3, "expression": None},
        {"index": 4, "expression": "draft"},
        {"index": 4, "expression": "close"},
        {"index": 6},
    ]
    reading = read_repairs(json.dumps({"repairs": rows}), "stop", 6)
    assert reading.mended == {2: None, 3: "close"}
    assert set(reading.unread) == {0, 1, 4, 5}
    assert "the repair is no expression" in reading.unread[0]
    assert reading.unread[1] == reading.unread[4]
    assert "no number that can be read" in reading.unread[1]
    assert read_repairs('{"repairs": [{"index": 1, "expression": "close"}]}', "stop", 2).unread == {
        1: "the reply does not name it"
    }


# --- a formula is read whole, with its sign, or not at all ---

FORMULAS = [
    "-rank(close)",
    "-close",
    "1 - rank(close)",
    "0.5 * rank(close)",
    "-ts_mean(returns, 3)",
    "-0.5",
]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize(
    "row",
    [
        '{"expression": FORMULA, "horizon_bars": 5}',
        '{"expression": FORMULA}',
        "{'expression': 'FORMULA'}",
        '{expression: "FORMULA"}',
        '{"expression": -"FORMULA"}',
        '{"expression": "FORMULA" * -1, "horizon_bars": 5}',
        '{"expression": "FORMULA" + " - open"}',
        '{"expression": "FORMULA"close")"}',
        '{"expression": "FORMULA',
        '{"expression": FORMULA',
    ],
)
def test_a_formula_that_is_not_whole_in_its_quotes_is_not_read(formula: str, row: str) -> None:
    text = row.replace("FORMULA", formula)
    for wrapped in (text, f'{{"candidates": [{text}]}}', f"Here: [{text}, {text}]"):
        assert read_proposal(wrapped).candidates == ()
        assert read_proposal(wrapped).problems
        repair = wrapped.replace('{"exp', '{"index": 1, "exp').replace("candidates", "repairs")
        assert read_repairs(repair, "stop", 1).mended == {}
        assert read_repairs(repair, "stop", 1).unread[0]


@pytest.mark.parametrize("sign", ["\u00ad", "\u2062", "\uf02d"])
def test_what_may_be_an_operator_is_not_cleaned_away(sign: str) -> None:
    (candidate,), _ = read_proposal(json.dumps([{"expression": f"{sign}rank(close)"}]))
    assert candidate.expression == "\ufffdrank(close)"
    repairs = json.dumps({"repairs": [{"index": 1, "expression": f"{sign}close"}]})
    assert read_repairs(repairs, "stop", 1).mended == {0: "\ufffdclose"}
