"""A small open_clip model that is trained on the (picture, text) pairs of the data set, without published weights."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from open_clip.loss import ClipLoss
from torch import Tensor

from decorec.artifacts.files import read_arrays, write_arrays
from decorec.artifacts.resume import Keeper
from decorec.artifacts.seal import provenance
from decorec.config.features import FeaturesConfig
from decorec.errors import DecorecError
from decorec.features.at_once import MOST_PAIRS
from decorec.features.clip import SMALL_CLIP, Clip, build_clip
from decorec.features.decode import batches
from decorec.features.encoder_inputs import EncoderInputs
from decorec.processor import pinned
from decorec.progress import track

__all__ = ["Fitted", "retrieval_recall", "train_encoder"]

log = logging.getLogger("decorec")
LEAST_PAIRS = 32
HELD_OUT = 0.1
BATCH = 64
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.1
TOKEN_DROPOUT = 0.2
SHIFT = 6


@dataclass(frozen=True)
class Pairs:
    """``pictures`` [pairs, height, width, 3] uint8 and ``tokens`` [pairs, context length] int64."""

    pictures: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: npt.NDArray[np.int64]) -> Pairs:
        """The pairs ``rows``."""
        index = torch.from_numpy(rows)
        return Pairs(self.pictures[index], self.tokens[index])


class Fitted(NamedTuple):
    """The weights by name, a name for all of them, and facts about the training for the metadata of features."""

    state: dict[str, npt.NDArray[np.float32]]
    name: str
    facts: dict[str, str]


def train_encoder(features: FeaturesConfig, inputs: EncoderInputs, cache: Path, threads: int) -> Fitted:
    """Train the model of small-clip.json, or take it from ``cache``.

    A training that was killed continues where it kept its state, and gives the bytes of one that was not.
    A tenth of the pairs is held out. The facts hold the text-to-picture recall@10 on these, their number, and the
    recall of random guesses. The same pairs, configuration and versions give the same bytes on processors of one kind,
    or on all with AVX2 if they are pinned, because training runs on the CPU.

    Raises:
        DecorecError: fewer than 32 distinct pairs.
    """
    rows = _distinct_pairs(inputs)
    if len(rows) < LEAST_PAIRS:
        raise DecorecError(
            f"features.encoder: fit needs at least {LEAST_PAIRS} distinct pairs of picture and text, found "
            f"{len(rows)}; set features.encoder to clip, or features.text to lsa if there are no pictures at all, or "
            "look into images.parquet for pictures that were not fetched"
        )
    generator = np.random.default_rng(features.seed)
    rows = rows[generator.permutation(len(rows))[:MOST_PAIRS]]
    key = _key(features, inputs, rows)
    file = cache / "encoders" / f"{key}.safetensors"
    if not file.is_file():
        with Keeper(cache / "training" / "encoders" / file.name, key) as keeper:
            model, facts = _train(features, inputs, rows, generator, threads, keeper)
        write_arrays(file, {name: value.numpy() for name, value in model.state_dict().items()}, facts)
        keeper.remove()
    with provenance():  # of its own: it may be from other tables with the same pairs
        state, metadata = read_arrays(file)
    log.info(
        "features: encoder fitted on %s pairs, recall@10 on %s held-out pairs %s (guessing: %s)",
        metadata["training_pairs"],
        metadata["retrieval_pairs"],
        metadata["retrieval_recall_at_10"],
        metadata["retrieval_chance"],
    )
    return Fitted(state, f"fit:{key}", metadata)


def _distinct_pairs(inputs: EncoderInputs) -> npt.NDArray[np.int64]:
    """Distinct (picture, text), one per picture: positions [pairs, 2], in order of the items."""
    both = inputs.pictures.present & inputs.texts.present
    pairs = np.stack([inputs.pictures.rows[both], inputs.texts.rows[both]], axis=1)
    _, first = np.unique(pairs[:, 0], return_index=True)
    return pairs[np.sort(first)]


def _key(features: FeaturesConfig, inputs: EncoderInputs, rows: npt.NDArray[np.int64]) -> str:
    stored = inputs.stored_pictures
    pairs = [(stored[picture], inputs.texts.values[text]) for picture, text in rows]
    recipe = [BATCH, LEARNING_RATE, WEIGHT_DECAY, TOKEN_DROPOUT, SHIFT, HELD_OUT, open_clip.__version__]
    content = [SMALL_CLIP.read_text(), features.epochs, features.seed, recipe, torch.__version__, pinned(), pairs]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _train(
    features: FeaturesConfig,
    inputs: EncoderInputs,
    rows: npt.NDArray[np.int64],
    generator: np.random.Generator,
    threads: int,
    keeper: Keeper,
) -> tuple[Any, dict[str, str]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(features.seed)
        encoder = build_clip(SMALL_CLIP.stem, None, "fp32", torch.device("cpu"))
    pairs = _load(inputs, encoder, rows, threads)
    held_out = max(1, round(HELD_OUT * len(pairs)))
    order = np.arange(len(pairs))
    held, training = pairs.take(order[:held_out]), pairs.take(order[held_out:])
    encoder.model.requires_grad_(True).train()
    encoder.model.visual.to(memory_format=torch.channels_last)
    _descend(encoder, training, features.epochs, generator, keeper)
    encoder.model.requires_grad_(False).eval()
    facts = {
        "training_pairs": str(len(training)),
        "retrieval_pairs": str(held_out),
        "retrieval_recall_at_10": f"{retrieval_recall(_similarity(encoder, held), 10):.4f}",
        "retrieval_chance": f"{min(1.0, 10 / held_out):.4f}",
    }
    return encoder.model, facts


def _load(inputs: EncoderInputs, encoder: Clip, rows: npt.NDArray[np.int64], threads: int) -> Pairs:
    paths = inputs.picture_paths
    pictures = encoder.source("image", [paths[row] for row in rows[:, 0]])
    texts = encoder.source("text", [inputs.texts.values[row] for row in rows[:, 1]])
    ranges = [(start, min(start + BATCH, len(rows))) for start in range(0, len(rows), BATCH)]
    return Pairs(
        torch.cat([batch.inputs for batch in batches(pictures, ranges, threads, encoder.device)]),
        torch.cat([batch.inputs for batch in batches(texts, ranges, threads, encoder.device)]),
    )


class _State:
    """Everything that changes while an encoder is fitted. All random numbers come from ``generator``."""

    def __init__(self, encoder: Clip, pairs: int, epochs: int, generator: np.random.Generator) -> None:
        self.model, self.pairs, self.generator = encoder.model, pairs, generator
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        self.parameters = [*decayed, *plain]
        """In the order in which the optimizer numbers them."""
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
            lr=LEARNING_RATE,
        )
        steps = epochs * max(1, pairs // BATCH)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1
        )
        self.epoch, self.batch = -1, 0
        """The epoch that has begun, -1 before the first one, and batches of it that are done."""
        self.order = np.arange(pairs)
        """Order of the pairs in this epoch."""

    def begin(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        self.epoch, self.batch = epoch, 0
        self.order = self.generator.permutation(self.pairs)

    def batches(self) -> Iterator[npt.NDArray[np.int64]]:
        """Rows of the batches that are left; pairs that do not fill a batch are left out of this epoch."""
        size = min(BATCH, self.pairs)
        for start in range(self.batch * size, self.pairs - size + 1, size):
            yield self.order[start : start + size]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The tensors of the state, and the order."""
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"moments.{index}.{kind}": tensor for kind, tensor in moments.items()}
        return {"order": self.order} | {name: tensor.detach().numpy() for name, tensor in tensors.items()}

    def facts(self) -> dict[str, Any]:
        """The rest of the state, as values for JSON."""
        groups = self.optimizer.state_dict()["param_groups"]
        random = self.generator.bit_generator.state
        facts = {"epoch": self.epoch, "batch": self.batch, "random": random, "groups": groups}
        return facts | {"schedule": self.schedule.state_dict()}

    def restore(self, arrays: dict[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
        """Become the state with these ``arrays`` and ``facts``; this one is the same training, not begun."""
        own: dict[str, Tensor] = {}
        moments: dict[int, dict[str, Tensor]] = {}
        for name, array in arrays.items():
            kind, _, rest = name.partition(".")
            if kind == "model":
                own[rest] = torch.from_numpy(array)
            elif kind == "moments":
                index, _, part = rest.partition(".")
                # With the layout in memory of the parameter, on which the last digits of a step depend.
                target = self.parameters[int(index)] if part != "step" else torch.zeros(())
                values = torch.from_numpy(array).reshape(target.shape)
                moments.setdefault(int(index), {})[part] = torch.empty_like(target).copy_(values)
        self.model.load_state_dict(own)
        self.optimizer.load_state_dict({"state": moments, "param_groups": facts["groups"]})
        self.schedule.load_state_dict(facts["schedule"])
        self.generator.bit_generator.state = facts["random"]
        self.epoch, self.batch, self.order = facts["epoch"], facts["batch"], arrays["order"]


def _descend(encoder: Clip, pairs: Pairs, epochs: int, generator: np.random.Generator, keeper: Keeper) -> None:
    now = _State(encoder, len(pairs), epochs, generator)
    keeper.restore(now)
    model, loss_of = encoder.model, ClipLoss()
    for epoch in track(range(max(0, now.epoch), epochs), "fit encoder", unit="epochs"):
        if epoch != now.epoch:
            now.begin(epoch)
        for rows in now.batches():
            keeper.offer(now)
            pictures, tokens = _augment(pairs.take(rows), generator)
            loss = loss_of(
                model.encode_image(encoder.pixels.normalised(pictures), normalize=True),
                model.encode_text(tokens, normalize=True),
                model.logit_scale.exp(),
            )
            now.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            now.optimizer.step()
            now.schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0.0, np.log(100.0))
            now.batch += 1
        log.info("features: fitting the encoder: epoch %d, loss %.4f", epoch, float(loss.detach()))


def _augment(pairs: Pairs, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures shifted by a few pixels and randomly mirrored; texts with some of their words left out."""
    pictures = []
    padded = np.pad(pairs.pictures.numpy(), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    height, width = pairs.pictures.shape[1:3]
    shifts = generator.integers(0, 2 * SHIFT + 1, size=(len(pairs), 2))
    mirrored = generator.random(len(pairs)) < 0.5
    for picture, (down, right), mirror in zip(padded, shifts, mirrored, strict=True):
        window = picture[down : down + height, right : right + width]
        pictures.append(window[:, ::-1] if mirror else window)
    tokens = pairs.tokens.numpy().copy()
    end = tokens.argmax(axis=1)
    for row, last in zip(tokens, end, strict=True):
        kept = np.flatnonzero(generator.random(last - 1) >= TOKEN_DROPOUT) + 1 if last > 2 else np.arange(1, last)
        shorter = [row[0], *row[kept], row[last]]
        row[:] = 0
        row[: len(shorter)] = shorter
    return torch.from_numpy(np.stack(pictures)), torch.from_numpy(tokens)


def _similarity(encoder: Clip, pairs: Pairs) -> Tensor:
    """Cosine similarity of each text (rows) and each picture (columns)."""
    pictures = torch.cat([encoder.encode("image", part) for part in torch.split(pairs.pictures, BATCH)])
    texts = torch.cat([encoder.encode("text", part) for part in torch.split(pairs.tokens, BATCH)])
    return torch.nn.functional.normalize(texts) @ torch.nn.functional.normalize(pictures).T


def retrieval_recall(scores: Tensor, k: int) -> float:
    """Share of rows of ``scores`` [n, n] whose diagonal is among the ``k`` largest, on average over orders of ties."""
    own = scores.diagonal()[:, None]
    higher, tied = (scores > own).sum(dim=1), (scores == own).sum(dim=1)  # the diagonal itself is among the tied
    return float(((k - higher) / tied).clamp(0, 1).mean())
