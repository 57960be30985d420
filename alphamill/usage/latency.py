"""Latencies as a histogram whose buckets grow by a constant ratio.

Bucket k > 0 holds the whole milliseconds in (RATIO^(k-1), RATIO^k], bucket 0 those up to 1 ms.
Histograms add up exactly, so a percentile of the totals is as good as one of a row. A percentile is
a whole millisecond out of the middle of its bucket, and so at most 2.5 % off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

RATIO = 1.025
_LAST = 840  # begins at eleven days


def bucket_of(latency_ms: int) -> int:
    """The bucket that holds a latency; what is beyond the last is in the last."""
    if latency_ms <= 1:
        return 0
    return min(_LAST, math.ceil(math.log(latency_ms) / math.log(RATIO)))


def percentile_ms(buckets: Mapping[int, int], frac: float) -> int:
    """The nearest-rank percentile of a histogram (bucket -> count); 0 if it is empty."""
    rank = math.ceil(frac * sum(buckets.values()))
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank > 0:
            return _middle_ms(bucket)
    return 0


def _middle_ms(bucket: int) -> int:
    if bucket == 0:
        return 1
    first, last = math.floor(RATIO ** (bucket - 1)) + 1, math.floor(RATIO**bucket)
    return (first + last) // 2
