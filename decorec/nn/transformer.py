"""The transformer over a user's sequence.

Shapes: M modalities, T tokens, B sequences, P predictions, D width.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional

from decorec.config.encoder import EncoderConfig
from decorec.data.batches import Batch, Group
from decorec.nn.attention import SelfAttention
from decorec.nn.dropout import Dropout
from decorec.nn.matmul import Linear

__all__ = ["LAYER_NORM_EPSILON", "Block", "SequenceEncoder", "initialise", "predicting_states"]

LAYER_NORM_EPSILON = 1e-12
INITIAL_DEVIATION = 0.02


def initialise(module: nn.Module) -> None:
    """Linear and embedding weights N(0, 0.02), biases 0, as in BERT and in the published code of such models."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class Block(nn.Module):
    """Post-norm transformer layer with GELU."""

    def __init__(self, dim: int, config: EncoderConfig, causal: bool) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, config.heads, config.dropout, causal)
        self.attention_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.up = Linear(dim, config.feed_forward)
        self.down = Linear(config.feed_forward, dim)
        self.output_norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,
        groups: tuple[Group, ...],
        tokens: Tensor | None = None,
        at_ends: bool = False,
        rows: Tensor | None = None,
    ) -> Tensor:
        """States after all tokens, or only after ``tokens``; ``at_ends``: these are the last tokens of all sequences.

        ``rows`` [T]: if inputs repeat often, ``x`` holds each input once, and ``rows`` gives the input of each token.
        """
        attended = self.attention(x, groups, tokens, at_ends, rows)
        if rows is not None:
            x = x.index_select(1, rows)
        if tokens is not None:
            x = x.index_select(1, tokens)
        x = self.attention_norm(x + self.dropout(attended))
        hidden = self.down(functional.gelu(self.up(x)))
        out: Tensor = self.output_norm(x + self.dropout(hidden))
        return out


class SequenceEncoder(nn.Module):
    """Layer norm and dropout of the input, then transformer blocks (eq. 9); all modalities share the weights."""

    def __init__(self, dim: int, config: EncoderConfig, causal: bool = True, slots: int | None = None) -> None:
        super().__init__()
        slots = slots or config.length
        self.positions = nn.Embedding(slots, dim) if config.positions == "learned" else None
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPSILON)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(dim, config, causal) for _ in range(config.layers))
        self.apply(initialise)

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        """States after the tokens whose next item is predicted, [M, T, D] -> [M, P, D]."""
        if self.positions is not None:
            x = x + self.positions.weight.index_select(0, batch.positions)
        x = self.dropout(self.norm(x))
        return predicting_states(self.blocks, x, batch)


def predicting_states(blocks: Iterable[nn.Module], x: Tensor, batch: Batch) -> Tensor:
    """States after the tokens whose next item is predicted, through all blocks, [M, T, D] -> [M, P, D].

    A block is called with the states, the batch's groups, the tokens to compute (None: all), and whether these are the
    last ones of all sequences.
    """
    *inner, last = blocks
    for block in inner:
        x = block(x, batch.groups, None, False)
    # In training there may be a prediction after every token, at inference only after the last one of a sequence.
    everything = len(batch.predict) == len(batch.items)
    states: Tensor = last(x, batch.groups, None if everything else batch.predict, batch.at_ends)
    return states
