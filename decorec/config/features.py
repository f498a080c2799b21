"""Section of the encoders of pictures and texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from decorec.artifacts.layout import RESULTS, place_of
from decorec.config.base import Section

__all__ = ["FOLDER", "LENGTH", "FeaturesConfig"]

FOLDER = "local-dir:"
"""Begins the name of a model that lies in a folder, with its weights."""
LENGTH = 10.0
"""About the length of the vectors of published CLIP models, for which the defaults of models are."""


ENCODER_FILE = ".safetensors"
"""Ends the path of an encoder."""
VECTORS = r".+\.(parquet|safetensors)"
"""The path of vectors of one's own."""
ARRAYS = (".npy", ".npz", ".pt", ".pth", ".h5", ".bin")
"""Endings of files that hold rows without the ids of their items."""


class FeaturesConfig(Section):
    """Encoders of pictures and texts."""

    encoder: str = Field("clip", pattern=rf"^(clip|fit|.+\{ENCODER_FILE})$")
    """Encodes pictures and texts, unless text or image name another way. clip: an open_clip model with published
    weights. fit: a small open_clip model that is trained on the data set's own (picture, text) pairs and needs no
    weights. The path of a copy of results/DATASET/encoder.safetensors: that encoder, of texts as well; nothing is
    fitted, and of the other keys of this section only device and storage count."""
    text: str | None = Field(
        None,
        pattern=rf"^(encoder|lsa|open_clip|sentence-transformers|{VECTORS})$",
        exclude_if=lambda text: text is None,
    )
    """What encodes the texts. encoder: the same as the pictures. lsa: latent semantic analysis (TF-IDF and a truncated
    singular value decomposition) of the data set's own texts; it needs neither weights nor pictures. open_clip: the
    model text_model of open_clip, another than that of the pictures. sentence-transformers: the model text_model. The
    path of a parquet or safetensors file: vectors of your own, by item. null: lsa beside an encoder that is trained
    here (fit), which knows less of texts; beside published weights (clip), the encoder."""
    text_width: int = Field(256, ge=1, exclude_if=lambda width: width == 256)
    """Number of values in a row of text features (text lsa)."""
    text_model: str = Field("", exclude_if=lambda model: not model)
    """A model of sentence-transformers (text sentence-transformers), by its name on the Hugging Face hub, or of
    open_clip (text open_clip); local-dir: and a folder for either."""
    text_weights: str = Field("", exclude_if=lambda weights: not weights)
    """Weights tag of text_model, or the path of a local weights file (text open_clip)."""
    image: str = Field("encoder", pattern=rf"^(encoder|timm|{VECTORS})$", exclude_if=lambda image: image == "encoder")
    """What encodes the pictures. encoder: the key encoder. timm: the model image_model. The path of a parquet or
    safetensors file: vectors of your own, by item."""
    image_model: str = Field("", exclude_if=lambda model: not model)
    """A model of timm (image timm), such as vit_small_patch14_dinov2.lvd142m, or local-dir: and a folder."""
    image_weights: str = Field("", exclude_if=lambda weights: not weights)
    """Path of a weights file of image_model; "": the published ones (image timm)."""
    model: str = "ViT-B-32-quickgelu"
    """open_clip model name, or local-dir: and a folder (encoder clip)."""
    weights: str = "openai"
    """open_clip weights tag, or the path of a local weights file (encoder clip)."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the encoder; how its results are stored is the key storage."""
    storage: Literal["float32", "float16"] = Field("float32", exclude_if=lambda storage: storage == "float32")
    """Type of the stored features. float16 halves the files, and what is read of them in a step: values keep 11 binary
    digits (a relative error up to 0.0005), and those below 0.00006 fewer; larger ones than 65,504 are refused. Models
    compute with them in float32 in any case. Vectors of a data set in atomic files stay in float32."""
    length: float | None = Field(None, gt=0, exclude_if=lambda length: length is None)
    """Length that every vector is scaled to, of texts and of pictures. null: 10 for those of lsa and of fit, whose own
    lengths say nothing; vectors of published models and of your own stay as they come. Models start with maps that
    are meant for a length of about 10, that of CLIP."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: the GPU if there is one."""
    batch_size: int = Field(128, ge=1)
    """Pictures or texts per forward pass."""
    epochs: int = Field(20, ge=1)
    """Passes over the pairs (encoder fit)."""
    seed: int = Field(0, ge=0)
    """Seed of initialisation, held-out pairs and order (encoder fit), and of the decomposition (text lsa)."""
    ensemble: int = Field(1, ge=1, exclude_if=lambda ensemble: ensemble == 1)
    """Number of networks that are fitted (encoder fit), with seed, seed + 1 and so on. Their vectors, each of the same
    length, stand side by side: more of them depend less on the luck of one seed, and fitting, encoding and width grow
    as many times."""

    @field_validator("text", "image", mode="before")
    @classmethod
    def _with_ids(cls, value: Any) -> Any:
        if isinstance(value, str) and value.endswith(ARRAYS):
            raise ValueError(
                f"expected vectors with the ids of their items (parquet, safetensors), found {value!r}, whose rows do "
                "not say whose they are; write both into a parquet file: docs/how-to/encoders.md, vectors of your own"
            )
        return value

    @field_validator("encoder", "text", "image")
    @classmethod
    def _outside_results(cls, value: str | None) -> str | None:
        if value is not None and place_of(Path(value)):
            raise ValueError(
                f"expected a word, or a file outside {RESULTS}/, found {value!r}, which a step writes; copy it, "
                "such as to encoder.safetensors, and name the copy"
            )
        return value

    @model_validator(mode="after")
    def _named_models(self) -> FeaturesConfig:
        for key, value, model, example in (
            ("text", "sentence-transformers", "text_model", "all-MiniLM-L6-v2"),
            ("text", "open_clip", "text_model", "ViT-B-16-SigLIP2"),
            ("image", "timm", "image_model", "vit_small_patch14_dinov2.lvd142m"),
        ):
            if getattr(self, key) == value and not getattr(self, model):
                raise ValueError(f"{key} is {value}, expected a model, found none; add {model}, such as {example}")
        if self.text == "open_clip" and not (self.text_weights or self.text_model.startswith((FOLDER, "hf-hub:"))):
            raise ValueError("text is open_clip, expected weights, found none; add text_weights, a tag or a file")
        if self.ensemble > 1 and self.pinned is None and "fit" not in self.ways.values():
            raise ValueError(
                f"ensemble is {self.ensemble}, expected networks that are fitted, found none; set encoder to fit, or "
                "remove ensemble"
            )
        return self

    @property
    def pinned(self) -> Path | None:
        """The file of the encoder, if one is named."""
        return None if self.encoder in ("clip", "fit") else Path(self.encoder)

    @property
    def ways(self) -> dict[Literal["text", "image"], str]:
        """What encodes each modality: clip, fit, lsa, open_clip, sentence-transformers, timm, or a path of vectors."""
        text = self.text or ("lsa" if self.encoder == "fit" else "encoder")
        return {
            "text": self.encoder if text == "encoder" else text,
            "image": self.encoder if self.image == "encoder" else self.image,
        }

    @property
    def lengths(self) -> dict[Literal["text", "image"], float | None]:
        """Length that the vectors of each modality are scaled to; None: as they come."""
        own: dict[str, float | None] = {"lsa": LENGTH, "fit": LENGTH}
        return {modality: self.length or own.get(way) for modality, way in self.ways.items()}

    def vectors(self, modality: Literal["text", "image"]) -> Path | None:
        """The file of vectors of one's own, if one is named."""
        named = self.text if modality == "text" else self.image
        return Path(named) if named is not None and "." in named else None

    @property
    def files(self) -> list[Path]:
        """Files and folders that the encoders are read from; those of published models do not exist."""
        given = [path for path in (self.vectors("text"), self.vectors("image")) if path is not None]
        if self.pinned is not None:
            return [self.pinned, *given]
        named = {
            "clip": self.model if self.model.startswith(FOLDER) else self.weights,
            "open_clip": self.text_model if self.text_model.startswith(FOLDER) else self.text_weights,
            "sentence-transformers": self.text_model if self.text_model.startswith(FOLDER) else "",
            "timm": self.image_model if self.image_model.startswith(FOLDER) else self.image_weights,
        }
        chosen = dict.fromkeys(named[way] for way in self.ways.values() if way in named)
        return [*(Path(name.removeprefix(FOLDER)) for name in chosen if name), *given]

    @property
    def repositories(self) -> list[str]:
        """Repositories of the Hugging Face hub that are fetched for texts and pictures chosen apart."""
        if self.pinned is not None:
            return []
        named = {"sentence-transformers": self.text_model, "timm": f"timm/{self.image_model}"}
        if self.image_weights or self.image_model.startswith(FOLDER):
            del named["timm"]
        if self.text_model.startswith(FOLDER):
            del named["sentence-transformers"]
        elif "/" not in self.text_model:
            named["sentence-transformers"] = f"sentence-transformers/{self.text_model}"
        return [named[way] for way in self.ways.values() if way in named]
