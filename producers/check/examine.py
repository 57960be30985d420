"""All that `alphamill doctor` looks at, side by side and within one patience."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from alphamill.errors import AlphamillError, Misconfigured
from alphamill.frames import Market
from alphamill.settings import Settings, load_settings
from producers.check import local, remote
from producers.check.brokers import broker_checks
from producers.check.lives import lives_checks
from producers.check.local import Check, fail, failed, ok

_PATIENCE_S = 7.0  # for all probes together; a name server may hang longer than any socket

Probe = Callable[[], Iterator[Check]]


def examine(market: Market) -> list[Check]:
    """All checks in a fixed order; without valid settings only what needs none."""
    checks = [local.python_check()]
    try:
        settings = load_settings()
    except Misconfigured as error:
        return [*checks, failed("settings", error)]
    checks += [ok("settings", f"home {settings.home}"), *_probed(settings, market)]
    return [*checks, remote.prices_check(settings)]


def _probed(settings: Settings, market: Market) -> list[Check]:
    return ask_all(
        {
            "redis": lambda: local.redis_checks(settings),
            "lives": lambda: lives_checks(settings),
            "prompts": lambda: local.prompts_checks(settings),
            "broker": lambda: broker_checks(settings),
            "lake": lambda: local.lake_checks(settings),
            "exchange": lambda: remote.exchange_checks(settings, market),
            "llm": lambda: remote.llm_checks(settings),
        },
        _PATIENCE_S,
    )


def ask_all(probes: Mapping[str, Probe], patience_s: float) -> list[Check]:
    """Run probes side by side; one that has not ended in time fails, and is left behind."""
    answers: queue.SimpleQueue[tuple[str, Check | None]] = queue.SimpleQueue()

    def ask(name: str, probe: Probe) -> None:
        try:
            for check in probe():
                answers.put((name, check))
        except AlphamillError as error:
            answers.put((name, failed(name, error)))
        except Exception as error:  # noqa: BLE001  a defect of one probe must not hide the others
            answers.put((name, fail(name, f"the check broke ({type(error).__name__})")))
        answers.put((name, None))

    for name, probe in probes.items():  # daemons: a hanging one does not hold the process
        threading.Thread(target=ask, args=(name, probe), name=f"doctor-{name}", daemon=True).start()
    found: dict[str, list[Check]] = {name: [] for name in probes}
    waiting, deadline_s = set(probes), time.monotonic() + patience_s
    while waiting and (left_s := deadline_s - time.monotonic()) > 0:
        try:
            name, check = answers.get(timeout=left_s)
        except queue.Empty:
            break
        if check is None:
            waiting.discard(name)
        else:
            found[name].append(check)
    late, cure = f"no answer within {patience_s:g} s", "look at the network between here and there"
    for name in waiting:
        found[name].append(fail(name, late, cure))
    return [check for name in probes for check in found[name]]
