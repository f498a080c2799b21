"""The moving average of weights."""

from __future__ import annotations

import torch
from torch import nn

from decorec.training.ema import ExponentialMovingAverage


def test_the_average_follows_its_recursion_and_leaves_the_weights_alone() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    average = ExponentialMovingAverage(layer, 0.9)
    expected = torch.zeros(0)
    for number in range(4):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        average.update()
        present = layer.weight.detach().clone()
        expected = present if not number else 0.9 * expected + 0.1 * present
    with average.applied():
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert torch.equal(layer.weight.detach(), present)
