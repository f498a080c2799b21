"""Step features: encodes the texts and pictures of the items."""

from __future__ import annotations

from pathlib import Path

from decorec.artifacts.seal import provenance
from decorec.config.features import FeaturesConfig
from decorec.errors import DecorecError
from decorec.features.lengths import tell

__all__ = ["features"]


def features(
    *,
    settings: FeaturesConfig,
    catalogue: Path,
    images: Path,
    cache: Path,
    encoder: Path,
    text: Path,
    image: Path,
    threads: int = 1,
) -> None:
    """Encode the texts and pictures of all items.

    Equal pictures and equal texts are encoded once. What an earlier run has encoded with the same encoder is not
    encoded again; an interrupted step continues after the chunks it has finished.

    Args:
        settings: the section features of the configuration.
        catalogue: items.parquet (read): item, text.
        images: images.parquet (read): an item's picture is its first row with status ok.
        cache: folder that is kept between runs (read and written): stored pictures, encoded rows, fitted encoders.
        encoder: encoder.safetensors (written): the encoder that was used. A copy of it can be pinned as
            features.encoder; then nothing is fitted, and the vectors of all other items stay as they are.
        text: text.safetensors (written): x [items, width], in float32 or as features.storage says, in the order of the
            catalogue, each row of the length that features.length says; present [items], false for an item without
            text, whose row in x is zero; the item ids; and the encoder and its weights as metadata.
        image: image.safetensors (written): the same for pictures.
        threads: number of threads that prepare inputs and of threads of torch.

    Raises:
        DecorecError: the weights cannot be fetched, a picture is missing or damaged, a file of vectors cannot be used,
            or the inputs do not fit together.
    """
    from decorec.features.encoder_inputs import read_encoder_inputs
    from decorec.features.item_encoder import ItemEncoder

    inputs = read_encoder_inputs(catalogue, images, cache)
    pinned = settings.pinned
    if pinned is None:
        chosen = ItemEncoder.make(settings, inputs, cache, threads)
    else:
        with provenance():  # of its own: a copy of an earlier encoder was made from earlier tables
            chosen = ItemEncoder.read(pinned, settings.device)
    found = chosen.encode(inputs, cache, threads)
    chosen.write(encoder)
    for path, file in ((text, found["text"]), (image, found["image"])):
        if file.metadata.get("encoder") == "given" and not file.present.any():
            raise DecorecError(
                f"{file.metadata['source']}: expected vectors of the items of {catalogue} (such as "
                f"{next(iter(file.items), 'none')!r}), found none of them; correct the ids in the file"
            )
        file.write(path, settings.storage)
        tell(path, file, "features.length")
