"""Another process compiles what a follower needs, once."""

import io
import logging
import subprocess
import sys

import pytest

from alphamill.frames import Interval, Market
from alphamill.language import read_given
from alphamill.live import Followed, LiveSpec, State
from alphamill.live.engine import Engine
from workers import kernels


def spec(*texts, symbols=("AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT")):
    followed = tuple(Followed(str(one), one.hash) for one in map(read_given, texts))
    return LiveSpec(Market.SPOT, Interval.H1, symbols, followed)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "kernel_cache_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch):
    """Processes that were started: (command, options)."""
    started = []
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: started.append((args, options)))
    return started


def test_a_process_a_set_of_factors(run):
    kernels.compile_aside(spec("rank(close)"))
    kernels.compile_aside(spec("rank(close)", symbols=("FUSDT", "GUSDT")))
    assert len(run) == 1
    kernels.compile_aside(spec("rank(close)", "rank(volume)"))
    assert len(run) == 2


def test_what_it_is_told_is_what_it_computes(run, monkeypatch, capsys):
    asked = spec("rank(ts_mean(close, 20))", "rank(rsi_14)")
    kernels.compile_aside(asked)
    rehearsed = []

    def rehearse(self):
        rehearsed.append(self.spec)
        return []

    monkeypatch.setattr(Engine, "rehearse", rehearse)
    [(_, options)] = run
    monkeypatch.setattr(sys, "stdin", io.StringIO(options["input"]))
    kernels.main()
    [there] = rehearsed
    assert there.factors == asked.factors
    assert there.symbols == asked.symbols[:4]


def test_a_rehearsal_gives_every_factor_a_signal():
    engine = Engine(spec("rank(ts_mean(close, 20))", "-ts_zscore(volume, 24)", "rank(rsi_14)"))
    rows = engine.rehearse()
    assert [row.state for row in rows] == [State.SIGNAL] * 3, rows


def test_one_that_fails_is_told_and_tried_again(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with caplog.at_level(logging.WARNING):
        kernels.compile_aside(spec("rank(close)"))
    assert "kernels were not compiled aside: " in caplog.text
    tried = []
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: tried.append(True))
    kernels.compile_aside(spec("rank(close)"))
    assert tried == [True]
