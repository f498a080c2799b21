"""The length of vectors, which models are sensitive to and which an encoder often leaves to chance."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from decorec.config.features import LENGTH
from decorec.data.item_features import FeatureFile

__all__ = ["tell"]

log = logging.getLogger("decorec")
FAR = 3.0
"""Factor from ``LENGTH`` beyond which models may learn much less with their defaults."""


def tell(path: Path, file: FeatureFile, key: str) -> None:
    """Log what the features ``file``, written to ``path``, are, and warn of a length that models are not made for.

    ``key``: of the configuration, which scales them.
    """
    own = file.lengths()[file.present]
    median = float(np.median(own)) if len(own) else 0.0
    log.info(
        "features: %s: %d items, %d present, width %d, length %.3g (median)",
        path.name,
        len(file.items),
        len(own),
        file.x.shape[1],
        median,
    )
    if len(own) and not LENGTH / FAR <= median <= LENGTH * FAR:
        log.warning(
            "features: %s: expected vectors of a length of about %g, for which the models start, found %.3g (median of "
            "%d); models that read them may learn little: compare on validation with %s: %g",
            path,
            LENGTH,
            median,
            len(own),
            key,
            LENGTH,
        )
