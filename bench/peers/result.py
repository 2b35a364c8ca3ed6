"""Times in the form of the JSON of `rcnn bench` (docs/benchmarking.md); standard library alone, so that drivers need no more."""
import time


def milliseconds(function):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def times(samples):
    """samples: milliseconds in the order taken."""
    ordered = sorted(samples)

    def quantile(q):  # between the two nearest samples, in proportion
        at = q * (len(ordered) - 1)
        low = int(at)
        high = min(low + 1, len(ordered) - 1)
        return round(ordered[low] + (at - low) * (ordered[high] - ordered[low]), 4)

    return {"count": len(samples), "median_ms": quantile(0.5), "p10_ms": quantile(0.1), "p90_ms": quantile(0.9),
            "min_ms": quantile(0), "samples_ms": [round(s, 4) for s in samples]}
