"""Section of the encoder of pictures and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from decorec.artifacts.layout import RESULTS, place_of
from decorec.config.base import Section

__all__ = ["FOLDER", "FeaturesConfig"]

FOLDER = "local-dir:"
"""Begins the name of a model that lies in a folder, with its weights."""


ENCODER_FILE = ".safetensors"
"""Ends the path of an encoder."""


class FeaturesConfig(Section):
    """Encoder of pictures and texts."""

    encoder: str = Field("clip", pattern=rf"^(clip|fit|.+\{ENCODER_FILE})$")
    """clip: an open_clip model with published weights. fit: a small open_clip model that is trained on the data
    set's own (picture, text) pairs and needs no weights. The path of a copy of results/DATASET/encoder.safetensors:
    that encoder, of texts as well; nothing is fitted, and of the other keys of this section only device counts."""
    text: Literal["encoder", "lsa"] | None = Field(None, exclude_if=lambda text: text is None)
    """What encodes the texts. encoder: the same as the pictures. lsa: latent semantic analysis (TF-IDF and a truncated
    singular value decomposition) of the data set's own texts; it needs neither weights nor pictures. null: lsa beside
    an encoder that is trained here (fit), which knows less of texts; beside published weights (clip), the encoder."""
    text_width: int = Field(256, ge=1, exclude_if=lambda width: width == 256)
    """Number of values in a row of text features (text lsa)."""
    model: str = "ViT-B-32-quickgelu"
    """open_clip model name (encoder clip)."""
    weights: str = "openai"
    """open_clip weights tag, or the path of a local weights file (encoder clip)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the encoder; the features are stored in float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU if there is one."""
    batch_size: int = Field(128, ge=1)
    """Pictures or texts per forward pass."""
    epochs: int = Field(20, ge=1)
    """Passes over the pairs (encoder fit)."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation, held-out pairs and order (encoder fit), and of the decomposition (text lsa)."""

    @field_validator("encoder")
    @classmethod
    def _outside_results(cls, value: str) -> str:
        if place_of(Path(value)):
            raise ValueError(
                f"expected clip, fit, or a copy of an encoder outside {RESULTS}/, found {value!r}, which the step "
                "features writes; copy it, such as to encoder.safetensors, and name the copy"
            )
        return value

    @property
    def pinned(self) -> Path | None:
        """The file of the encoder, if one is named."""
        return None if self.encoder in ("clip", "fit") else Path(self.encoder)

    @property
    def texts(self) -> Literal["encoder", "lsa"]:
        """What encodes the texts."""
        return self.text or ("lsa" if self.encoder == "fit" else "encoder")

    @property
    def place_of_weights(self) -> Path:
        """The file or folder of the weights; it does not exist where they are a published tag."""
        return Path(self.model.removeprefix(FOLDER) if self.model.startswith(FOLDER) else self.weights)
