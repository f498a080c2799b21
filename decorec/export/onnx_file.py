"""A model in its padded form as ONNX."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from decorec.errors import DecorecError
from decorec.export.forward import PlainModel

__all__ = ["onnx_bytes", "onnx_scorer"]

OPSET = 17
MOST_BYTES = 900_000_000
"""An ONNX file is one protobuf message, which holds less than 2 GB, and may hold the vectors of the items twice."""


class _Queries(nn.Module):
    def __init__(self, model: PlainModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, items: Tensor, lengths: Tensor) -> Tensor:
        return self.model.queries(items, lengths)


def onnx_bytes(model: PlainModel, output: Literal["scores", "queries"]) -> bytes:
    """The file from padded histories to ``output``.

    Raises:
        DecorecError: it would be too large.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    if size > MOST_BYTES:
        raise DecorecError(
            f"onnx: expected a model of at most {MOST_BYTES / 1e9:.1f} GB, found {size / 1e9:.1f} GB; export its "
            "vectors (--format parquet)"
        )
    example = torch.tensor([[0, 0, 0], [0, 0, 0]]), torch.tensor([3, 2])
    axes = {"items": {0: "batch", 1: "length"}, "lengths": {0: "batch"}, output: {0: "batch"}}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The newer exporter needs another package, and takes twenty times as long for the same graph.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model if output == "scores" else _Queries(model),
            example,
            path,
            input_names=["items", "lengths"],
            output_names=[output],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def onnx_scorer(content: bytes) -> Callable[[Tensor, Tensor], Tensor]:
    """What onnxruntime computes with a file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def scores(items: Tensor, lengths: Tensor) -> Tensor:
        (found,) = session.run(None, {"items": items.numpy(), "lengths": lengths.numpy()})
        return torch.from_numpy(found)

    return scores
