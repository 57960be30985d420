"""A refusal or a ban that one worker process is told stops every process of the same address."""

from alphamill.frames import Interval
from alphamill.sim.exchange import Limits

THREADS, PROCESSES = 3, 2
# A refused request more than each thread has under way would be a ban, and a ban would double.
LIMITS = Limits(
    weight=1000, requests=None, window_ms=1000, tolerated=THREADS * PROCESSES, ban_windows=2
)


def test_two_processes_stop_until_a_refusal_and_a_ban_end(make_mill, market):
    mill = make_mill(
        market(symbols=20, months=3, interval=Interval.H1),
        LIMITS,
        latency_ms=(5, 20),
        faults=["http_429:@20", "http_418:@40"],
    )
    spec = mill.spec()
    mill.wait_until_here(mill.control(), *(mill.worker("fetch", THREADS) for _ in range(PROCESSES)))
    run = mill.wait_for_end(mill.submit(spec).id)
    assert run.state == "done"
    assert mill.check_lake(spec) == 20 * 3

    totals = mill.exchange.stats()["totals"]
    assert totals["faults"] == {"http_429": 1, "http_418": 1}
    assert totals["bans"] == 1
    # What a thread had sent before the others were told cannot be called back; no more than that.
    assert totals["into_bans"] < THREADS * PROCESSES
    assert totals["status_429"] <= THREADS * PROCESSES
    assert totals["requests"] >= 60
