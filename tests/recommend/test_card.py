"""The card of the model for production: what it says of the features."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from decorec.data.item_features import FeatureFile
from decorec.recommend.card import _encoders


def test_the_card_says_how_many_items_have_each_modality(tmp_path: Path) -> None:
    x = np.array([[1, 2], [0, 0], [3, 4]], np.float32)
    for modality, facts in (("text", {"encoder": "lsa"}), ("audio", {"encoder": "given", "source": "S.audio.parquet"})):
        present = np.array([True, modality == "text", True])
        FeatureFile(x, present, ["a", "b", "c"], facts).write(tmp_path / f"{modality}.safetensors")
    title, _, *lines = _encoders([tmp_path / "text.safetensors", tmp_path / "audio.safetensors"]).splitlines()
    assert title == "## Encoders and their licences"
    assert lines[0].startswith("- text: TF-IDF") and lines[0].endswith(" 3 of 3 items have one.")
    assert lines[1].startswith("- audio: given (`S.audio.parquet`).") and lines[1].endswith(" 2 of 3 items have one.")
