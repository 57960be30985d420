"""The page of a run with ten factors over three years of 1h bars and 20 symbols: seconds and bytes.

Run: python benchmarks/report_page.py. The run is made first, by the whole pipeline over a synthetic
market. Then processes of their own write its page, the first to fill the cache of kernels.
Processor time of one core: what the page takes from the lake to the last byte, and with it what it
takes to load Python's modules. Before that a plot is checked against its whole series: every
extreme of a pixel column is drawn. Ends with 1 above 3 s or 1.5 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.report.factor.tear_sheet import Sheets, subjects
from alphamill.report.plots.thinning import COLUMNS, thinned
from alphamill.runs.published import PublishedRun
from alphamill.sim.market import PlantedFactor
from alphamill.testing import work_market

MARKET = ControlMarket(11, 20, 26_280, (PlantedFactor("-ts_zscore(close, 24)", 0.04),))
TARGET_S, TARGET_MB, FACTORS = 3.0, 1.5, 10

WRITE = """
import sys, time
from alphamill.lake import Lake
from alphamill.report.page import page_of, render
from alphamill.runs.published import PublishedRun
loaded = time.process_time()
run = PublishedRun.open(Lake(sys.argv[1]), sys.argv[2])
text = render(page_of(run))
open(sys.argv[3], "w", encoding="utf-8").write(text)
print(time.process_time() - loaded, time.process_time())
"""


def check_thinning(run: PublishedRun) -> int:
    """Points of the longest series; fails if an extreme of a column is lost."""
    (sheet,) = Sheets(run).of(subjects(run)[:1])
    net = np.concatenate([piece.series.book.net for piece in sheet.pieces])
    x, y = np.arange(len(net), dtype=np.float64), np.cumsum(net)
    kept = thinned(x, y)
    column = (x * (COLUMNS / x[-1])).astype(int)
    for one in np.unique(column):
        own, left = y[column == one], y[kept][column[kept] == one]
        assert (own.min(), own.max()) == (left.min(), left.max())
    return len(net)


def written(folder: Path, run: PublishedRun, page: Path) -> tuple[float, float]:
    """Processor seconds of the page, and of the whole process."""
    command = [sys.executable, "-c", WRITE, str(folder), run.id, str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    page_s, process_s = map(float, done.stdout.split())
    return page_s, process_s


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder, page = Path(name) / "lake", Path(name) / "page.html"
        search = Search(rounds=2, candidates=4)
        run = work_market(folder, MARKET, search).published
        factors = len(run.factors)
        bars = check_thinning(run)
        written(folder, run, page)
        page_s, process_s = min(written(folder, run, page) for _ in range(3))
        size_mb = page.stat().st_size / 1e6
        plots = page.read_text(encoding="utf-8").count("<figure>")
    print(f"{factors} factors, {MARKET.n_bars:,} bars of 1h ({bars:,} held), {plots} plots")
    print(f"page    {page_s:6.2f} s of one core   (target {TARGET_S} s)")
    print(f"process {process_s:6.2f} s with the loading of modules")
    print(f"size    {size_mb:6.3f} MB             (target {TARGET_MB} MB)")
    print(f"a plot  {1000 * size_mb / plots:6.1f} kB with its data")
    return int(factors != FACTORS or page_s > TARGET_S or size_mb > TARGET_MB)


if __name__ == "__main__":
    sys.exit(main())
