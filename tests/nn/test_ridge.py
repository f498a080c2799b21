"""The ridge regression of every item on all others, beside one regression per item, and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from decorec.errors import DecorecError
from decorec.nn import ridge
from decorec.nn.ridge import item_weights, last_weights

ITEMS = 60


def one_by_one(gram: np.ndarray, penalty: float, prior: np.ndarray, strength: float) -> np.ndarray:
    """A system for each item, without it, solved by the eigenvectors of the rest."""
    found = np.zeros_like(gram)
    for item in range(len(gram)):
        rest = [other for other in range(len(gram)) if other != item]
        values, vectors = np.linalg.eigh(gram[np.ix_(rest, rest)])
        right = gram[rest, item] + strength * prior[rest, item]
        found[rest, item] = vectors @ ((vectors.T @ right) / (values + penalty))
    return found


@pytest.mark.parametrize("strength", [0.0, 3.0])
@pytest.mark.parametrize("columns", [7, ITEMS, 512])
def test_every_column_is_a_regression_on_the_other_items(
    strength: float, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ridge, "COLUMNS", columns)
    random = np.random.default_rng(0)
    histories = (random.random((200, ITEMS)) < 0.1).astype(float)
    gram, prior = histories.T @ histories, random.normal(size=(ITEMS, ITEMS)).astype(np.float32)
    expected = one_by_one(gram, 2.0, prior, strength)
    scale = np.abs(expected).max()
    found = item_weights(scipy.sparse.csr_array(gram), 2.0, prior, strength)
    assert found.dtype == np.float32 and not found.diagonal().any()
    assert np.abs(found - expected).max() < 1e-6 * scale
    assert np.abs(found - found.T).max() > 0.1 * scale, "columns are divided, so B is not symmetric"
    for item in (0, 31, ITEMS - 1):
        block = [*(other for other in range(ITEMS) if other != item), item]
        alone = last_weights(gram[np.ix_(block, block)], 2.0, prior[block[:-1], item], strength)
        assert np.abs(alone - expected[block[:-1], item]).max() < 1e-6 * scale
    assert np.array_equal(found, item_weights(gram.copy(), 2.0, prior, strength)), "dense or sparse"


def test_the_first_index_is_the_item_of_the_history() -> None:
    gram = np.array([[3.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(item_weights(gram, 1.0), [[0, 1 / 4], [1 / 2, 0]], rtol=1e-6)


def test_a_ridge_that_is_too_small_is_refused() -> None:
    same = np.ones((3, 3))
    with pytest.raises(DecorecError, match=r"ridge: expected a value .* found 1e-30, .*; raise model.ridge"):
        item_weights(same.copy(), 1e-30)
    with pytest.raises(DecorecError, match=r"raise model[.]ridge"):
        last_weights(same, 1e-30)
