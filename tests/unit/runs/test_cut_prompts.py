"""A server that cuts its prompts is known by the tokens that it states."""

from dataclasses import replace

import pytest

from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.language import language_manual
from alphamill.llm.journal.records import CallStatus
from alphamill.llm.prompts import PROMPT_VERSION, Feedback, Setting, quick_scan_prompt
from alphamill.llm.tokens import estimate_tokens
from alphamill.report.caveats import caveats, page_caveats
from alphamill.runs.cut_prompts import CURE, cut_prompts, least_prompt_tokens
from producers.check.local import prompts_found
from tests import rows

SPEC = RunSpec(RunKind.MINE, "/lake", Market.SPOT, ("AUSDT",), (Interval.H1,), 0, 3_600_000)


def calls(*tokens, version=PROMPT_VERSION, **more):
    """A call with its own prompt for each count of tokens that a server states."""
    return [
        replace(
            rows.CALL,
            attempt=f"a{number}",
            prompt_hash=f"h{number}",
            prompt_version=version,
            prompt_tokens=stated,
            endpoint="127.0.0.1:11434",
            **more,
        )
        for number, stated in enumerate(tokens)
    ]


def said(made):
    return [(cut.read_tokens, cut.prompts) for cut in cut_prompts(made)]


def test_fewer_tokens_than_the_manual_has_are_a_cut_prompt():
    assert said(calls(2050)) == [(2050, 1)]
    assert said(calls(2050, 2050, 1900)) == [(2050, 3)]
    assert said(calls(2050, version="1")) == []  # how long that prompt was is not known


def test_no_real_tokenizer_counts_so_few():
    """SmolLM2 makes 3,855 tokens of what all prompts begin with; gpt-4o's are a sixth fewer."""
    setting = Setting("1h")
    prompt = quick_scan_prompt(language_manual(), setting, Feedback(), "BTCUSDT", [], {}, 4)
    assert least_prompt_tokens() < 0.9 * 3855 * 5 / 6
    assert least_prompt_tokens() > 2050
    assert estimate_tokens(prompt) > 2 * least_prompt_tokens()


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ([4096, 4096, 4096, 4096], [(4096, 4)]),
        ([4096, 4096, 4096, 4096, 3900, 4010], [(4096, 4)]),
        ([4096, 4096, 4096], []),
        ([4096, 4096, 4096, 4096, 4097], []),
        ([4000 + number for number in range(40)], []),
        ([4096] * 4 + [4000 - number for number in range(9)], []),
    ],
)
def test_different_prompts_of_equal_length_were_cut(stated, found):
    assert said(calls(*stated)) == found
    assert said(calls(*stated, version="1")) == found


def test_a_call_asked_again_is_one_prompt_and_an_estimate_says_nothing():
    same = [replace(call, prompt_hash="h") for call in calls(4096, 4096, 4096, 4096)]
    assert said(same) == []
    assert said(calls(2050, usage_estimated=True)) == []
    assert said(calls(2050, status=CallStatus.UNKNOWN)) == []
    assert said(calls(0)) == []


def test_models_are_told_apart():
    other = [replace(call, model="other") for call in calls(5000, 5003, 5010)]
    assert [cut.model for cut in cut_prompts(calls(2050) + other)] == ["m"]


def test_board_page_and_doctor_say_so_with_the_cure(tmp_path):
    run = rows.publish(Lake(str(tmp_path)), "mine-1", SPEC.to_message(), calls=calls(2050, 2050))
    line = (
        "m at 127.0.0.1:11434 read no more than 2,050 tokens of 2 different prompts: it cuts them, "
        "and the manual of the language goes first; raise the server's context (Ollama: "
        "OLLAMA_CONTEXT_LENGTH=16384)."
    )
    assert line in caveats(run)
    assert line in page_caveats(run)
    (check,) = prompts_found(run.calls)
    assert (check.state, check.name, check.cure) == ("warn", "prompts", CURE)
    assert check.detail.startswith("m at 127.0.0.1:11434 read no more than 2,050 tokens")
    assert list(prompts_found(calls(5000, 5003))) == []
