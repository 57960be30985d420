"""`am.sample_lake()`: a small lake of simulated bars, so that an example runs anywhere."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from alphamill.controls.markets import ControlMarket, exchange_of
from alphamill.controls.planted import OfflineChat, Search, spec_of
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.mill import Mill
from alphamill.notebook.lake import LakeReader
from alphamill.sim.market import DEFAULT_PLANTED

_MARKET = ControlMarket(seed=5, n_symbols=8, n_bars=3000, planted=DEFAULT_PLANTED)
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # each goes when Python ends


def sample_lake(folder: str | Path | None = None, *, mined: bool = False) -> LakeReader:
    """A lake with 3,000 bars of 1h of eight simulated coins, from 2023-01-01; equal every time.

    Two formulas are planted in it, one coin is listed late and one collapses: what is found here
    says nothing about a real market. mined: with a run over it by the offline proposer, which asks
    no model and costs nothing; `am.run(lake=lake.uri)`. folder: where to make it; default: a
    temporary one. Takes a second, with `mined` three.
    """
    if folder is None:
        _FOLDERS.append(tempfile.TemporaryDirectory(prefix="alphamill-sample-"))
        folder = _FOLDERS[-1].name
    uri = str(Path(folder).expanduser().resolve())
    spec = spec_of(_MARKET, Search(rounds=2, candidates=6, decoys=False), uri)
    if not mined:
        spec = replace(spec, kind=RunKind.FETCH, tiers={}, budget_usd_micros=0)
    chat = OfflineChat(_MARKET.seed)
    Mill(Lake(uri), exchange_of(_MARKET), chat, indicators=False).work(spec)
    return LakeReader(uri)
