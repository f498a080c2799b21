"""Section of DeCoRec."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from decorec.config.base import Distinct
from decorec.config.datasets import Modality
from decorec.config.encoder import EncoderConfig, expect_divisible
from decorec.config.model_section import TRANSFORMER, ModelSection
from decorec.config.prepare import Normalisation

__all__ = ["DecorecConfig"]

FUSED_ONLY = (
    "ids",
    "interests",
    "id_deviation",
    "interest_mlp",
    "interest_input",
    "freeze",
    "id_layers",
    "id_enrichment",
)
"""Keys of DeCoRec that have no effect on stage 1."""

MODAL_ONLY = (
    "adapter",
    "adapter_hidden",
    "interests",
    "interest_mlp",
    "interest_input",
    "freeze",
    "phased",
    "modal_layers",
    "enrich",
    "alpha",
    "cross",
)
"""Keys of DeCoRec that have no effect without modalities."""


class DecorecConfig(ModelSection):
    """DeCoRec (eq. 2 to 18)."""

    space = {**TRANSFORMER, "model.modal_layers": [1, 2]}
    name: Literal["decorec"] = "decorec"
    dim: int = Field(300, ge=4)
    """Width of item representations (d)."""
    modalities: Distinct[Modality] = ["text", "image"]
    """Modalities used; the data set must have their features. None ([]): ids alone, with their
    own enrichment and the same encoder, in one stage (fit), because there is nothing that a first stage could train."""
    adapter: Literal["mlp", "linear"] = "mlp"
    """Linear-ReLU-Linear (eq. 8), or one linear layer."""
    adapter_hidden: int | None = Field(None, ge=1)
    """Hidden width of the adapters (d_h of eq. 8; the paper says d_h < d); default: dim. A linear adapter has none."""
    encoder: EncoderConfig = EncoderConfig()
    initialisation: Literal["normal", "torch"] = "normal"
    """Initial values of adapters and of the attention's input projections: N(0, 0.02), as others, or torch's own."""
    ids: bool = True
    """Add item ids in stage 2."""
    interests: bool = True
    """Add interest embeddings in stage 2."""
    interest_mlp: bool = True
    """Pass the interest embedding through an MLP (eq. 6); false: a table without MLP, initialised to zero."""
    interest_input: Literal["index", "centroid"] = Field("index", exclude_if=lambda given: given == "index")
    """What the MLP of eq. 6 is given: index: a learned embedding of the cluster's index; centroid: the cluster's
    centroid, which is not trained. Not written if index, so that the tracked values of a run are the same as before the
    key existed."""
    freeze: bool = True
    """Freeze adapters and modal gates in stage 2."""
    phased: bool = Field(True, exclude_if=bool)
    """Two stages; false: one stage, with ids and interests from the start. Not written if true, so that the tracked
    values of a run are the same as before the key existed."""
    normalisation: Normalisation = "symmetric"
    """Normalisation of the co-occurrence matrix for enrichment."""
    id_deviation: float = Field(0.002, ge=0)
    """Standard deviation of the ids at the start of stage 2. With 0.02 their noise lowers the validation metrics more
    than stage 2 raises them: frozen modal representations have norms of about 1.3 in 300 dimensions."""
    id_layers: int = Field(2, ge=0, le=4)
    """Enrichment layers of the ids (0: none)."""
    id_enrichment: Literal["gated", "mean"] = "gated"
    """gated: eq. 3; mean: plain mean over 0..layers hops."""
    modal_layers: int = Field(1, ge=0, le=4)
    """Enrichment layers of the modal representations (0: none)."""
    enrich: Literal["adapted", "raw"] = Field("adapted", exclude_if=lambda enrich: enrich == "adapted")
    """What eq. 3 enriches in the modalities: adapted: the output of the adapters; raw: the raw features, which are
    adapted afterwards, as the order of the equations says (3, then 7 and 8). Not written if adapted, so that the
    tracked values of a run are the same as before the key existed."""
    gate: Literal["learned"] | Annotated[float, Field(ge=0, le=4)] = "learned"
    """mu of eq. 2: learned per item and layer, or one fixed value."""
    gate_bias: float = 0.0
    """Initial bias of the learned gate."""
    similarity: Literal["dot", "cosine"] = "dot"
    """Similarity of sequence and item."""
    temperature: float = Field(2.0, gt=0)
    """tau of eq. 12."""
    alpha: float = Field(1.0, ge=0, le=1)
    """Weight of the other modality: of the target's logit in the loss (eq. 14), of its score at inference (eq. 17)."""
    cross: bool = Field(True, exclude_if=bool)
    """Retrieve across modalities (eq. 12 to 17): the candidates of a state are the items in all modalities. false: each
    modality's state has only the candidates of its own modality, in the loss and in the scores; alpha has no effect.
    That is not alpha = 0, where the target in the other modality stays in the denominator of eq. 15, so that it is a
    negative. Not written if true, so that the tracked values of a run are the same as before the key existed."""
    scoring: Literal["softmax", "exponentials", "logits"] = "softmax"
    """What eq. 17 and 18 add up. softmax: eq. 16 per user and modality; exponentials: one sum of all four exponentials;
    logits: the logits of eq. 12 themselves."""
    padding_negative: bool = False
    """Add the released code's padding row to the denominator of the loss."""

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        expect_divisible(self.dim, self.encoder.heads, "model.encoder.heads")
        return self

    @model_validator(mode="after")
    def _centroids_need_the_mlp(self) -> Self:
        if self.interest_input == "centroid" and not self.interest_mlp:
            raise ValueError(
                "model.interest_input is centroid, expected model.interest_mlp: true, found false; change one"
            )
        return self

    @model_validator(mode="after")
    def _something_represents_the_items(self) -> Self:
        if not self.modalities:
            for key, wanted in (("ids", True), ("padding_negative", False)):
                if getattr(self, key) is not wanted:
                    raise ValueError(
                        f"model.modalities is empty, expected model.{key}: {str(wanted).lower()}, found "
                        f"{str(not wanted).lower()}; change one"
                    )
        return self

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the training stages, in order; without modalities there is no stage 1."""
        return ("stage1", "stage2") if self.phased and self.modalities else ("fit",)

    @property
    def length(self) -> int:
        """Number of latest items of the history that the model uses."""
        return self.encoder.length

    def needs(self, stage: str) -> tuple[str, ...]:
        """Inputs of the model in ``stage`` besides the sequences."""
        fused = stage != "stage1"
        modal = bool(self.modalities) and self.modal_layers > 0
        graph = modal or (fused and self.ids and self.id_layers > 0)
        interests = self.modalities if fused and self.interests else []
        return (
            *(f"features.{name}" for name in self.modalities),
            *(f"interests.{name}" for name in interests),
            *(f"centroids.{name}" for name in interests if self.interest_input == "centroid"),
            *(("graph",) if graph else ()),
        )

    def for_stage(self, stage: str) -> Self:
        """This section, with values that have no effect on ``stage`` set to their defaults."""
        without = {
            *(FUSED_ONLY if stage == "stage1" else ()),
            *(() if self.modalities else MODAL_ONLY),
            *(() if self.adapter == "mlp" else ("adapter_hidden",)),
            *(() if self.cross else ("alpha",)),
            *(() if self.modal_layers else ("enrich",)),
            *(() if self.interests else ("interest_input",)),
        }
        return self.model_copy(update={name: DecorecConfig.model_fields[name].default for name in without})
