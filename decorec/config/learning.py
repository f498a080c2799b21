"""Graph, interests, models and training."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from decorec.config.base import Section

__all__ = [
    "DecorecConfig",
    "GraphConfig",
    "InterestsConfig",
    "StageConfig",
    "TrainConfig",
]


class GraphConfig(Section):
    """Co-occurrence of items in training sequences (eq. 1)."""

    distance: Literal["1/D", "1/(D+1)", "1"] = "1/D"
    """Weight of a pair of positions at distance D; the released matrix uses 1/(D+1); 1 counts pairs."""
    window: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Largest distance counted."""


Normalisation = Literal["symmetric", "row", "released"]


class InterestsConfig(Section):
    """Clusters of enriched raw features (eq. 3 to 5)."""

    ratio: float = Field(0.1, gt=0, le=1)
    """Clusters per item and modality."""
    seed: int = Field(0, ge=0)
    """Seed of k-means."""
    normalisation: Normalisation = "symmetric"
    """Normalisation of the co-occurrence matrix for the enrichment of the clustered features."""
    gate: float = Field(0.5, ge=0, le=1)
    """Strength of one hop in the enrichment of the clustered features."""
    layers: int = Field(1, ge=0, le=4)
    """Hops in the enrichment of the clustered features."""


class EncoderConfig(Section):
    """The transformer over a user's sequence."""

    layers: int = Field(1, ge=1, le=12)
    """Number of transformer layers."""
    heads: int = Field(4, ge=1, le=32)
    """Attention heads."""
    feed_forward: int = Field(256, ge=1)
    """Width of the feed-forward layer."""
    dropout: float = Field(0.5, ge=0, lt=1)
    """Dropout of input, hidden states and attention."""
    positions: Literal["none", "learned"] = "none"
    """Position embeddings, counted from the oldest item of the window."""
    length: int = Field(50, ge=1, le=1_000)
    """Items of the history that the model sees (L)."""


FUSED_ONLY = (
    "ids",
    "interests",
    "id_deviation",
    "interest_mlp",
    "freeze",
    "id_layers",
    "id_enrichment",
    "neighbourhood",
    "repeats",
)
"""Keys of DeCoRec that have no effect on stage 1."""


class DecorecConfig(Section):
    """DeCoRec (eq. 2 to 18)."""

    name: Literal["decorec"] = "decorec"
    dim: int = Field(300, ge=4)
    """Width of item representations (d)."""
    modalities: list[Literal["text", "image"]] = Field(["text", "image"], min_length=1)
    """Modalities used."""
    adapter: Literal["mlp", "linear"] = "mlp"
    """Linear-ReLU-Linear (eq. 8), or one linear layer."""
    adapter_hidden: int | None = Field(None, ge=1)
    """Hidden width of the adapters (d_h); default: dim."""
    encoder: EncoderConfig = EncoderConfig()
    initialisation: Literal["normal", "torch"] = "normal"
    """Start of adapters and of the attention's input projections: N(0, 0.02) like everything else, or torch's own."""
    ids: bool = True
    """Add item ids in stage 2."""
    interests: bool = True
    """Add interest embeddings in stage 2."""
    interest_mlp: bool = True
    """Pass the interest embedding through an MLP (eq. 6); false: a bare table, initialised to zero."""
    freeze: bool = True
    """Freeze adapters and modal gates in stage 2."""
    phased: bool = Field(True, exclude_if=bool)
    """Two stages; false: one, with ids and interests from the start. Not written where it is true, so that what is
    tracked of a run is what it was before the key existed."""
    normalisation: Normalisation = "symmetric"
    """Normalisation of the co-occurrence matrix for enrichment."""
    id_deviation: float = Field(0.002, ge=0)
    """Standard deviation of the ids at the start of stage 2. At 0.02 their noise costs more on validation than stage 2
    wins back: frozen modal representations have norms of about 1.3 in 300 dimensions."""
    id_layers: int = Field(2, ge=0, le=4)
    """Enrichment layers of the ids (0: none)."""
    id_enrichment: Literal["gated", "mean"] = "gated"
    """gated: eq. 3; mean: plain mean over 0..layers hops."""
    modal_layers: int = Field(1, ge=0, le=4)
    """Enrichment layers of the adapted modal representations (0: none)."""
    gate: Literal["learned"] | Annotated[float, Field(ge=0, le=4)] = "learned"
    """mu of eq. 2: learned per item and layer, or one fixed value."""
    gate_bias: float = 0.0
    """Start of the learned gate's bias."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Product between sequence and candidate."""
    temperature: float = Field(2.0, gt=0)
    """tau of eq. 12."""
    alpha: float = Field(1.0, ge=0, le=1)
    """Weight of the other modality's positive in the loss (eq. 14) and of its score at inference (eq. 17)."""
    scoring: Literal["softmax", "exponentials"] = "softmax"
    """softmax: eq. 16 per user and modality; exponentials: one sum of all four exponentials."""
    neighbourhood: float = Field(0.0, ge=0, exclude_if=lambda weight: weight == 0)
    """Weight in the scores, beyond eq. 17, of the co-occurrence of candidate and history, in units of its mean over all
    items that co-occur with the history (decorec-plus); 0: none. Not written where it is 0, so that what is
    tracked of a run is what it was before the key existed."""
    repeats: Literal["scored", "counted"] = Field("scored", exclude_if=lambda repeats: repeats == "scored")
    """Share of the scores that the items of the history have together: as scored, or what repeats had in training
    (decorec-plus). Not written where it is as scored."""
    padding_candidate: bool = False
    """Add the released code's padding row to the denominator of the loss."""

    differences: ClassVar[dict[str, dict[str, Any]]] = {}
    """What the model's definition changes in the defaults of the sections graph, interests and train."""
    space: ClassVar[dict[str, list[Any]]] = {
        "train.learning_rate": [3e-4, 1e-3],
        "model.encoder.dropout": [0.2, 0.5],
        "model.modal_layers": [1, 2],
    }
    """Key of a run -> values that tuning chooses from; the same number of trials for every model."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the training stages, in order."""
        return ("stage1", "stage2") if self.phased else ("fit",)

    @property
    def length(self) -> int:
        """Items of the history that the model sees."""
        return self.encoder.length

    def needs(self, stage: str) -> tuple[str, ...]:
        """What the model reads in ``stage`` besides the sequences."""
        fused = stage != "stage1"
        graph = self.modal_layers > 0 or (fused and (self.neighbourhood > 0 or (self.ids and self.id_layers > 0)))
        interests = self.modalities if fused and self.interests else []
        return (
            *(f"features.{name}" for name in self.modalities),
            *(f"interests.{name}" for name in interests),
            *(("graph",) if graph else ()),
        )

    def for_stage(self, stage: str) -> DecorecConfig:
        """This section with everything at its default that has no effect on ``stage``."""
        if stage != "stage1":
            return self
        return self.model_copy(update={name: DecorecConfig.model_fields[name].default for name in FUSED_ONLY})


class StageConfig(Section):
    """One training loop."""

    epochs: int = Field(300, ge=1)
    """Most passes over the training sequences."""
    patience: int = Field(10, ge=1)
    """Epochs without improvement before training stops."""
    monitor: str = Field("NDCG@10", pattern=r"^((Hit|NDCG|MRR)@[1-9]\d*|loss)$")
    """Validation figure that decides which epoch is best: a metric, or loss."""
    decimals: int | None = Field(None, ge=1)
    """Decimals that the monitored figure is rounded to; then an equal later epoch counts as better, as in RecBole.
    Default: full precision, and only a better epoch counts."""
    batch_size: int = Field(512, ge=1)
    """Targets per step."""
    samples: Literal["sequences", "prefixes"] = "sequences"
    """sequences: one pass over a sequence predicts after each of its items; prefixes: one row per prefix, shuffled."""
    horizon: int = Field(1, ge=1, le=50, exclude_if=lambda horizon: horizon == 1)
    """Items after a prediction that it is trained to give: the next one, or so many, the k-th of which counts 1 / k
    (decorec-plus); models without it refuse. Not written where it is 1, so that what is tracked of a run is what it was
    before the key existed."""
    candidates: Literal["all"] | Annotated[int, Field(ge=1)] = "all"
    """Items in the denominator of the loss: all, or so many draws a step, corrected for their probability (logQ). For
    catalogues where the full softmax is too dear; models without it refuse."""
    learning_rate: float = Field(1e-3, gt=0)
    """Adam's rate for everything but ids and interests."""
    id_learning_rate: float = Field(1e-4, ge=0)
    """Adam's rate for ids and interests of DeCoRec in stage 2; 0 leaves them at their start."""
    weight_decay: float = Field(0.0, ge=0)
    """L2 weight of Adam."""
    clip: float | None = Field(1.0, gt=0)
    """Largest gradient norm."""
    stale_gradients: bool = False
    """Never clear the gradients of parameters whose rate is 0, so that they pile up in the norm that is clipped, as in
    the released code."""
    beta2: float = Field(0.999, gt=0, lt=1)
    """Decay of Adam's second moment."""
    restart: bool = True
    """Start Adam's moments anew every epoch, as the released code does; better on validation than one long run."""
    warmup_epochs: float = Field(0.0, ge=0)
    """Epochs of linear warm-up."""
    averaging: float = Field(0.99, ge=0, lt=1)
    """Decay per step of an exponential moving average of the weights that is evaluated and kept; 0: none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward pass."""


class TrainConfig(StageConfig):
    """Training: common values, and what differs per stage."""

    stage1: dict[str, Any] = {}
    """Differences of DeCoRec's stage 1 from the common values."""
    stage2: dict[str, Any] = {"learning_rate": 1e-4}
    """Differences of DeCoRec's stage 2 from the common values."""
    fit: dict[str, Any] = {}
    """Differences of the other models' only stage from the common values."""

    def stage(self, name: str) -> StageConfig:
        """The values in force in ``stage1``, ``stage2`` or ``fit``."""
        common = {key: getattr(self, key) for key in StageConfig.model_fields}
        return StageConfig.model_validate(common | getattr(self, name))

    @model_validator(mode="after")
    def _stages_are_valid(self) -> TrainConfig:
        for name in ("stage1", "stage2", "fit"):
            self.stage(name)
        return self

    @field_validator("stage2")
    @classmethod
    def _gentle(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Stage 2 goes on from a finished encoder: unless told otherwise, at a tenth of the usual rate."""
        return {"learning_rate": 1e-4, **value}

    @field_validator("stage1", "stage2", "fit")
    @classmethod
    def _known_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        return dict(sorted(value.items()))
