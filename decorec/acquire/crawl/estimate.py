"""Estimates time and disk space of a crawl from a sample of its pictures."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from decorec.acquire.crawl.frontier import Frontier
from decorec.artifacts.layout import picture_path

__all__ = ["expectation", "sample"]


def sample(addresses: Sequence[Sequence[str]], count: int) -> list[int]:
    """Indices of the rows of ``addresses`` to try: ``count`` rows that have any, drawn with a fixed seed, in order."""
    with_address = [index for index, row in enumerate(addresses) if row]
    return sorted(random.Random(0).sample(with_address, min(count, len(with_address))))


def expectation(frontier: Frontier, cache: Path, total: int, worked: float, paced: float) -> str:
    """The text that ``crawl --estimate`` prints.

    Args:
        frontier: the sampled items, with their outcomes.
        cache: folder of the stored pictures.
        total: number of items with a picture address, which the crawl would fetch first.
        worked: seconds that all of these take at the speed of the sample.
        paced: seconds that they take at least, because of crawl.rate.
    """
    outcomes = [outcome for _, _, outcome in frontier.rows()]
    if not outcomes:
        return "estimate: no item has a picture address"
    classes = Counter(outcome.error or "ok" for outcome in outcomes)
    lines = [f"estimate: {len(outcomes)} of {total} first picture addresses tried"]
    lines += [f"  {name:<20} {count:6d} {100 * count / len(outcomes):5.1f} %" for name, count in classes.most_common()]
    why = ", set by crawl.rate" if paced > worked else ""
    lines.append(f"  time: about {_duration(max(paced, worked))}{why}")
    kept = {outcome.sha256 for outcome in outcomes if outcome.status == "ok" and outcome.sha256}
    size = sum(picture_path(cache, sha256).stat().st_size for sha256 in kept) * total / len(outcomes)
    lines.append(
        f"  disk: about {size / 1e6:.1f} MB for {classes['ok'] * total / len(outcomes):.0f} items with a picture"
    )
    lines.append("  an item whose first address fails tries its next one, which adds to both")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"
