"""Histograms of seconds, small enough to be kept with every batch."""

import json
import math
from collections.abc import Iterable, Mapping

BUCKETS_PER_DOUBLING = 8
"""Each bucket's end is 9% above its beginning: what a percentile read from it can be off by."""

_SHORTEST = 0.05
_BUCKETS = 400  # more than anything takes: the last one ends after a million years


def bucket_of(seconds: float) -> str:
    """The histogram's key for a duration; everything up to 50 ms shares the first."""
    ratio = max(seconds, _SHORTEST) / _SHORTEST
    return str(math.ceil(math.log2(ratio) * BUCKETS_PER_DOUBLING))


def end_of(bucket: str) -> float:
    """The longest duration in seconds that a bucket holds."""
    return float(_SHORTEST * 2 ** (int(bucket) / BUCKETS_PER_DOUBLING))


def stored(text: str) -> dict[str, int]:
    """The histogram that was stored as this JSON; an empty one when it has been damaged."""
    try:
        histogram = json.loads(text)
        good = all(
            type(count) is int and count >= 0 and 0 <= int(bucket) <= _BUCKETS
            for bucket, count in histogram.items()
        )
    except (AttributeError, TypeError, ValueError):
        good = False
    return histogram if good else {}


def merged(histograms: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.items():
            total[bucket] = total.get(bucket, 0) + count
    return total


def seconds_until(histogram: Mapping[str, int], count: int) -> float | None:
    """Within how many seconds `count` had happened; None when they have not yet."""
    seen = 0
    for bucket in sorted(histogram, key=int):
        seen += histogram[bucket]
        if seen >= max(count, 1):
            return round(end_of(bucket), 2)
    return None
