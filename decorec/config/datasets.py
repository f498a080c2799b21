"""Sections of the data sets, by source."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from decorec.config.base import Section

__all__ = [
    "INGESTED",
    "AmazonDataset",
    "AtomicDataset",
    "Dataset",
    "FolderDataset",
    "HmDataset",
    "HuggingFaceDataset",
    "IngestedDataset",
    "MicroLensDataset",
    "Modality",
    "NamedColumns",
    "PaperDataset",
    "RecBoleDataset",
    "SampleDataset",
    "SqlDataset",
    "TableDataset",
    "YelpDataset",
]

PaperDataset = Literal["Arts", "Instruments", "Office", "Pantry", "Scientific"]
MODALITY = r"^[a-z][a-z0-9-]*$"
Modality = Annotated[str, Field(pattern=MODALITY)]
"""Name of a modality: text, image, or one of the user's own."""
Width = Annotated[int, Field(ge=1)]
"""Number of values in a row of features."""
GIVEN = {"text": "feat1CLS", "image": "feat3CLS"}
"""Default endings of the feature files of an atomic data set."""
GIVEN_WIDTH = 512
"""Default number of values in a row of such a file."""


UNREADABLE = 0.1


class IngestedDataset(Section):
    """Common keys of the sources that the step ingest reads."""

    modalities: ClassVar[tuple[str, ...]] = ("text", "image")
    """Names of the modalities with features."""

    unreadable: float = Field(UNREADABLE, ge=0, le=1, exclude_if=lambda share: share == UNREADABLE)
    """Largest share of the records of a file that may be dropped for one reason because they cannot be read or
    understood: lines that are not JSON, no user, no item, no time. More is an error that shows three of them. Repeated
    records, duplicates, items without metadata and the k-core do not count. Not written if 0.1, so that the tracked
    values of a data set are the same as before the key existed."""


class SampleDataset(IngestedDataset):
    """The sample shop: generated, then served on the loopback interface and fetched over HTTP."""

    source: Literal["sample"]
    items: int = Field(240, ge=50, le=20_000)
    """Number of products generated."""
    users: int = Field(450, ge=50, le=200_000)
    """Number of customers generated."""
    seed: int = Field(0, ge=0)
    """Seed of the generator."""
    paper: None = None
    """The paper has no results for this data set."""


class AmazonDataset(IngestedDataset):
    """One category of the Amazon reviews of 2018 or 2023."""

    source: Literal["amazon2018", "amazon2023"]
    category: str
    """Category, spelt as in the file names, e.g. Industrial_and_Scientific."""
    reviews: Literal["full", "5-core"] = "full"
    """full: all ratings of the category, as in the paper; 5-core: the publisher's 5-core (2018 only)."""
    base_url: str | None = None
    """Mirror or local copy instead of the official server: http, https or file URL; file:path may be relative."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""


class FolderDataset(IngestedDataset):
    """Common keys of the sources that are two files in a folder of the user."""

    source: str
    path: str
    """Folder of the files; relative to the working directory."""
    interactions: str
    """File of interactions, relative to path."""
    items: str
    """File of items, relative to path."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""


class NamedColumns(FolderDataset):
    """Common keys of the sources whose columns may have any names."""

    columns: dict[Literal["user", "item", "timestamp", "rating"], str] = Field({}, exclude_if=lambda names: not names)
    """Our name of a column -> its name in the interactions, where they differ. Not written if empty."""
    item_columns: dict[Literal["item", "title", "brand", "category", "description", "image"], str] = Field(
        {}, exclude_if=lambda names: not names
    )
    """The same for the items."""

    @property
    def names(self) -> dict[str, str]:
        """``columns``, with keys of any text."""
        return dict(self.columns.items())

    @property
    def item_names(self) -> dict[str, str]:
        """``item_columns``, with keys of any text."""
        return dict(self.item_columns.items())


class TableDataset(NamedColumns):
    """The user's own tables (csv, tsv, parquet, folders of it): interactions (user, item, timestamp[, rating]) and
    items."""

    source: Literal["table"]
    interactions: str = "interactions.csv"
    """File of interactions, relative to path: columns user, item, timestamp (seconds or dates), optionally rating."""
    items: str = "items.csv"
    """File of items, relative to path: columns item, optionally title, brand, category, description, image."""


class MicroLensDataset(FolderDataset):
    """MicroLens as released: the csv file of pairs, the titles and the folder of covers."""

    source: Literal["microlens"]
    interactions: str = "MicroLens-100k_pairs.csv"
    """File of pairs, relative to path: columns user, item, timestamp (milliseconds)."""
    items: str = "MicroLens-100k_title_en.csv"
    """File of titles, relative to path: in each line the number of an item, a comma and its title."""
    covers: str | None = "MicroLens-100k_covers"
    """Folder of the covers, relative to path: NUMBER.jpg; null: there are none."""


class HmDataset(FolderDataset):
    """H&M Personalized Fashion Recommendations in the layout of Kaggle."""

    source: Literal["hm"]
    interactions: str = "transactions_train.csv"
    """File of transactions, relative to path: columns t_dat, customer_id, article_id."""
    items: str = "articles.csv"
    """File of articles, relative to path: article_id (ten digits), prod_name, detail_desc and more."""
    images: str | None = "images"
    """Folder of the pictures, relative to path: 010/0108775015.jpg; null: there are none."""


class YelpDataset(FolderDataset):
    """The Yelp open data set: reviews, businesses and photos."""

    source: Literal["yelp"]
    interactions: str = "yelp_academic_dataset_review.json"
    """File of reviews, relative to path."""
    items: str = "yelp_academic_dataset_business.json"
    """File of businesses, relative to path."""
    photos: str | None = "photos.json"
    """File that says which photo shows which business, relative to path; null: there are no photos."""
    pictures: str = "photos"
    """Folder of the photos, relative to path."""


class RecBoleDataset(NamedColumns):
    """RecBole's files of interactions and items, with typed headings."""

    source: Literal["recbole"]
    interactions: str
    """File of interactions (.inter), relative to path: user_id, item_id and timestamp, or what columns says."""
    items: str
    """File of items (.item), relative to path: item_id, and what item_columns says."""


class HuggingFaceDataset(NamedColumns):
    """Data sets of the library datasets of Hugging Face, written with save_to_disk."""

    source: Literal["huggingface"]
    interactions: str = "interactions"
    """Folder of interactions, relative to path; of a dict of splits the folder of one, such as sales/train."""
    items: str = "items"
    """Folder of items, relative to path."""


class SqlDataset(FolderDataset):
    """Two queries of a database: PostgreSQL, or a file of DuckDB."""

    source: Literal["sql"]
    database: str
    """postgresql://user@host:5432/name, or duckdb:FILE. A password must not stand here: PostgreSQL takes it from the
    environment variable PGPASSWORD or from the file ~/.pgpass."""
    interactions: str
    """Query of interactions: columns user, item, timestamp, optionally rating; with ORDER BY, because equal times keep
    the order of the rows."""
    items: str
    """Query of items: columns item, optionally title, brand, category, description, image."""
    path: str = "."
    """Folder of the pictures that the items name; relative to the working directory."""
    pictures: bool = True
    """Whether the items have a column image. The database is not asked when the workflow is planned."""

    @field_validator("database")
    @classmethod
    def _without_password(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            secret = parts.password is not None or "password" in parts.query.lower()
        except ValueError:
            raise ValueError("expected an address such as postgresql://user@host:5432/name, found none") from None
        if secret:
            raise ValueError(
                "expected an address without a password, found one; take it out, and set the environment variable "
                "PGPASSWORD or write it into ~/.pgpass"
            )
        if parts.scheme not in ("postgresql", "postgres", "duckdb"):
            raise ValueError(
                f"expected postgresql://... or duckdb:FILE, found {parts.scheme or 'no scheme'!r}; correct the address"
            )
        return value


class AtomicDataset(Section):
    """Files in the RecBole / UniSRec / MISSRec layout, with given splits and features."""

    source: Literal["atomic"]
    path: str
    """Folder of the files; relative to the working directory."""
    name: str
    """Stem of the files: <name>.train.inter, <name>.feat1CLS, ..."""
    features: dict[Modality, str] = GIVEN
    """Modality -> ending of its file. .parquet or .safetensors: ids and vectors of the items, in any order. Any other
    ending: raw float32 rows, in the order of .item2index. text (feat1CLS) and image (feat3CLS) need not be given; any
    other modality needs an entry."""
    width: Width | dict[Modality, Width] = GIVEN_WIDTH
    """Number of values in a row of raw features: one number for all modalities, or one for each. Files with ids say
    theirs themselves."""
    length: float | None = Field(None, gt=0, exclude_if=lambda length: length is None)
    """Length that every vector is scaled to; null: as they come. Models start with maps that are meant for a length of
    about 10, that of CLIP."""
    paper: PaperDataset | None = None
    """Name of this data set in the paper's tables."""

    @field_validator("features", mode="before")
    @classmethod
    def _with_given(cls, value: Any) -> Any:
        return GIVEN | value if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _widths_are_of_raw_files(self) -> Self:
        for modality in self.width if isinstance(self.width, dict) else ():
            if modality not in self.features:
                raise ValueError(
                    f"width names {modality!r}; expected one of the modalities {', '.join(self.features)}; correct it, "
                    "or add the ending of its file to features"
                )
            if self.by_item(modality):
                raise ValueError(
                    f"width names {modality!r}, whose file ({self.features[modality]}) says its width itself; take it "
                    "out"
                )
        return self

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities with features."""
        return tuple(self.features)

    def by_item(self, modality: str) -> bool:
        """Whether the file of ``modality`` has the ids of its items."""
        return self.features[modality].endswith((".parquet", ".safetensors"))

    def width_of(self, modality: str) -> int:
        """Number of values in a row of the raw features of ``modality``."""
        return self.width if isinstance(self.width, int) else self.width.get(modality, GIVEN_WIDTH)

    def with_features(self, *modalities: str) -> AtomicDataset:
        """This section, with what it says of at most one modality; of the features of others it says the default."""
        own = {name: self.features[name] for name in modalities if name in self.features}
        width = next(map(self.width_of, own), GIVEN_WIDTH)
        length = self.length if own else None
        return self.model_copy(update={"features": GIVEN | own, "width": width, "length": length})


Dataset = Annotated[
    SampleDataset
    | AmazonDataset
    | TableDataset
    | MicroLensDataset
    | HmDataset
    | YelpDataset
    | RecBoleDataset
    | HuggingFaceDataset
    | SqlDataset
    | AtomicDataset,
    Field(discriminator="source"),
]
INGESTED: tuple[str, ...] = tuple(
    source
    for section in get_args(get_args(Dataset)[0])
    if section is not AtomicDataset
    for source in get_args(section.model_fields["source"].annotation)
)
"""Sources that the step ingest reads and whose pictures are fetched; atomic data sets do not need these steps."""
