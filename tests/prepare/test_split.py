"""The split: filters, fixed point, order, and statistics, against plain Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decorec.config.prepare import FilterConfig, SplitConfig
from decorec.data.item_features import FeatureFile
from decorec.data.sequences import Sequences, read_vocab
from decorec.errors import DecorecError
from decorec.prepare.split import split

Row = tuple[int, int, int]
OUTPUTS = ("vocab", "sequences", "statistics")


def write(folder: Path, rows: list[Row], items: int, text: set[int], image: set[int]) -> dict[str, Path]:
    """Interactions (user, item, timestamp), items and features; the sets hold the items that have the modality."""
    names = [f"i{item}" for item in range(items)]
    table = pl.DataFrame(
        {
            "user": [f"u{user}" for user, _, _ in rows],
            "item": [f"i{item}" for _, item, _ in rows],
            "rating": pl.Series([None] * len(rows), dtype=pl.Float32),
            "timestamp": [time for _, _, time in rows],
        },
        schema_overrides={"user": pl.String, "item": pl.String, "timestamp": pl.Int64},
    )
    table.write_parquet(folder / "interactions")
    pl.DataFrame({"item": names}, schema={"item": pl.String}).write_parquet(folder / "catalogue")
    for name, having in (("text", text), ("image", image)):
        present = np.array([item in having for item in range(items)], dtype=bool)
        FeatureFile(np.ones((items, 2), dtype=np.float32), present, names).write(folder / f"{name}.safetensors")
    files = {name: folder / name for name in ("interactions", "catalogue")}
    return files | {name: folder / f"{name}.safetensors" for name in ("text", "image")}


def run(
    folder: Path, inputs: dict[str, Path], settings: SplitConfig | None = None, **options: Any
) -> tuple[list[str], dict[str, list[str]], Any]:
    """Vocabulary, item names per user, statistics; all features in ``inputs`` are passed."""
    outputs = {name: folder / "out" / name for name in OUTPUTS}
    split(
        filter=FilterConfig.model_validate({"kcore": 3} | options),
        settings=settings or SplitConfig(),
        interactions=inputs["interactions"],
        catalogue=inputs["catalogue"],
        features=[path for name, path in inputs.items() if name not in ("interactions", "catalogue")],
        **outputs,
    )
    vocab, found = read_vocab(outputs["vocab"]), Sequences.read(outputs["sequences"])
    walks = {
        user: [vocab[item] for item in found.items[start:end]]
        for user, start, end in zip(found.users, found.offsets[:-1], found.offsets[1:], strict=True)
    }
    return vocab, walks, json.loads(outputs["statistics"].read_text())


def naive(rows: list[Row], allowed: set[int], k: int) -> dict[str, list[str]]:
    """The same in plain Python."""
    left = [row for row in rows if row[1] in allowed]
    while True:
        stay = [
            row
            for row in left
            if sum(other[0] == row[0] for other in left) >= k and sum(other[1] == row[1] for other in left) >= k
        ]
        if stay == left:
            break
        left = stay
    # Users stand in order of their first row in the file, whether it stayed or not.
    order = [user for user in dict.fromkeys(row[0] for row in rows) if any(row[0] == user for row in left)]
    walks = {f"u{user}": [row for row in left if row[0] == user] for user in order}
    return {user: [f"i{row[1]}" for row in sorted(walk, key=lambda row: row[2])] for user, walk in walks.items()}


Rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), max_size=60)
Having = st.sets(st.integers(0, 5), min_size=4)


@given(Rows, Having, Having)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_plain_python(tmp_path: Path, rows: list[Row], text: set[int], image: set[int]) -> None:
    inputs = write(tmp_path, rows, 6, text, image)
    expected = naive(rows, text & image, 3)
    if not expected:
        with pytest.raises(DecorecError, match="found none"):
            run(tmp_path, inputs)
        return
    vocab, walks, statistics = run(tmp_path, inputs)
    assert walks == expected and list(walks) == list(expected)
    assert vocab == list(dict.fromkeys(item for walk in expected.values() for item in walk))
    assert statistics["interactions"] == sum(map(len, expected.values()))


def everybody(users: int = 4, items: int = 4) -> list[Row]:
    return [(user, item, 10 * item) for user in range(users) for item in range(items)]


def test_ties_keep_the_order_of_the_source(tmp_path: Path) -> None:
    rows = [(user, (item + user) % 4, 7) for user in range(4) for item in range(4)]
    _, walks, _ = run(tmp_path, write(tmp_path, rows, 4, set(range(4)), set(range(4))))
    assert walks["u2"] == ["i2", "i3", "i0", "i1"]


def test_rows_without_a_user_are_refused(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    rows = pl.read_parquet(inputs["interactions"])
    rows.with_columns(pl.when(pl.col("timestamp") > 0).then("user").alias("user")).write_parquet(inputs["interactions"])
    with pytest.raises(DecorecError, match="expected a user and an item in every row, found 4 rows without"):
        run(tmp_path, inputs)


def test_timestamps_go_along(tmp_path: Path) -> None:
    rows = everybody()[::-1]
    run(tmp_path, write(tmp_path, rows, 4, set(range(4)), set(range(4))))
    found = Sequences.read(tmp_path / "out" / "sequences")
    assert found.timestamps is not None and found.timestamps.tolist() == [0, 10, 20, 30] * 4
    assert found.users == ["u3", "u2", "u1", "u0"]


def test_statistics_count_every_filter(tmp_path: Path) -> None:
    rows = [*everybody(), (0, 4, 1), (1, 4, 1), (2, 4, 1), (0, 5, 1), (1, 5, 1), (9, 0, 1)]
    inputs = write(tmp_path, rows, 6, {0, 1, 2, 3, 5}, {0, 1, 2, 3, 4})
    _, _, statistics = run(tmp_path, inputs)
    steps = [(step["step"], step["dropped"], step["interactions"]) for step in statistics["filter"]]
    assert steps == [
        ("given", {}, 22),
        ("items with text", {"item without text": 3}, 19),
        ("items with image", {"item without image": 2}, 17),
        ("3-core, pass 1", {"user below 3": 1, "item below 3": 0}, 16),
    ]
    assert statistics["users"] == statistics["items"] == 4 and statistics["sparsity"] == 0
    assert statistics["length"] == {"min": 4, "mean": 4, "median": 4, "max": 4}
    assert statistics["paper"] == {"users": 5, "items": 5, "interactions": 12, "sparsity": 1 - 12 / 25}


def test_a_modality_that_is_not_required_is_not_missed(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), {0, 1})
    vocab, _, _ = run(tmp_path, inputs, require=["text"])
    assert len(vocab) == 4


@pytest.mark.parametrize("required", [[], ["text"], ["image"], ["text", "image"]])
def test_only_the_required_features_need_be_passed(tmp_path: Path, required: list[str]) -> None:
    rows = [(user, item, 10 * item) for user in range(4) for item in range(6)]
    given = write(tmp_path, rows, 6, {0, 1, 2, 3, 4}, {1, 2, 3, 4, 5})
    passed = {name: path for name, path in given.items() if name not in ("text", "image") or name in required}
    vocab, _, statistics = run(tmp_path, passed, require=required)
    having = {"text": {"i0", "i1", "i2", "i3", "i4"}, "image": {"i1", "i2", "i3", "i4", "i5"}}
    expected = {f"i{item}" for item in range(6)}.intersection(*(having[name] for name in required))
    assert set(vocab) == expected
    steps = [step["step"] for step in statistics["filter"]]
    assert [step for step in steps if step.startswith("items with")] == [f"items with {name}" for name in required]


def refused(folder: Path, match: str, inputs: dict[str, Path], **options: Any) -> None:
    with pytest.raises(DecorecError, match=match):
        run(folder, inputs, **options)
    assert not (folder / "out").exists()


def test_an_empty_core_tells_what_each_filter_left(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), {0, 1})
    refused(
        tmp_path,
        r"at least 3 interactions each, found none; left after each step: given: 4 users, 4 items, 16 interactions; "
        r"items with text: 4 users, 4 items, 16 interactions; items with image: 4 users, 2 items, 8 interactions;.*"
        r"lower filter\.kcore, shorten filter\.require",
        inputs,
    )


def test_interactions_of_unknown_items(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 3, {0, 1, 2}, {0, 1, 2})
    refused(tmp_path, r"interactions: expected items of .*, found 4 interactions of others \(such as 'i3'\)", inputs)


@pytest.mark.parametrize("missing", ["text", "image"])
def test_a_required_modality_without_its_features(tmp_path: Path, missing: str) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    del inputs[missing]
    refused(tmp_path, rf"--features: expected {missing}\.safetensors \(filter\.require\), found none; pass it", inputs)


def test_two_files_of_one_modality(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    inputs["again"] = tmp_path / "again" / "text.safetensors"
    refused(tmp_path, r"again/text\.safetensors: expected one file per modality, found .*text\.safetensors", inputs)


def test_features_of_other_items_or_of_the_wrong_length(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    FeatureFile(np.ones((1, 2), dtype=np.float32), np.ones(1, dtype=bool), ["i0"]).write(inputs["image"])
    refused(tmp_path, r"image\.safetensors: expected a row for each of 4 items, found none for 3", inputs)


def test_interactions_without_a_column(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    pl.read_parquet(inputs["interactions"]).drop("timestamp").write_parquet(inputs["interactions"])
    refused(tmp_path, r"interactions: expected a column 'timestamp'", inputs)


def test_equal_bytes_from_equal_input(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(int(u), int(i), int(t)) for u, i, t in random.integers(0, 40, (3_000, 3))]
    inputs = write(tmp_path, rows, 40, set(range(40)), set(range(40)))
    written = []
    for _ in range(2):
        run(tmp_path, inputs)
        written.append([(tmp_path / "out" / name).read_bytes() for name in OUTPUTS])
    assert written[0] == written[1]


TEMPORAL = SplitConfig(protocol="temporal", quantile=0.5)
DAY = 86_400


def days(*walks: list[int]) -> list[Row]:
    """Interactions of users with the items 0, 1, 2, ... on these days."""
    return [(user, item, day * DAY) for user, walk in enumerate(walks) for item, day in enumerate(walk)]


def test_by_time_nothing_after_the_point_of_validation_is_trained_on(tmp_path: Path) -> None:
    rows = days([1, 2, 9, 9], [3, 8, 10, 11], [9, 10, 10, 12], [1, 1, 2, 3])
    inputs = write(tmp_path, rows, 4, set(range(4)), set(range(4)))
    vocab, _, statistics = run(tmp_path, inputs, TEMPORAL)
    found = Sequences.read(tmp_path / "out" / "sequences")
    training = found.training()
    assert found.timestamps is not None and training.timestamps is not None
    # T is day 8.5, and of 1 1 1 2 2 3 3 8 the point of validation is day 2.
    assert training.timestamps.max() == 2 * DAY and training.lengths.tolist() == [2, 0, 0, 3]
    assert found.having("test").users == ["u0", "u1", "u2"] and found.having("valid").users == ["u1", "u3"]
    tested = found.having("test")
    assert [vocab[item] for item in tested.targets("test")] == ["i2", "i2", "i1"]
    assert statistics["split"] == {
        **{"protocol": "temporal", "quantile": 0.5, "training": 5, "cold_items": 1},
        **{"validation_targets": 2, "test_targets": 3, "cold": 0, "early": 0, "same_day": 0},
    }


def test_the_statistics_say_how_near_the_targets_of_leave_one_out_are(tmp_path: Path) -> None:
    rows = days([1, 2, 9, 9], [3, 8, 10, 11], [9, 10, 10, 12], [1, 1, 2, 3])
    inputs = write(tmp_path, rows, 4, set(range(4)), set(range(4)))
    _, _, statistics = run(tmp_path, inputs, SplitConfig(quantile=0.5))
    assert statistics["split"] == {
        **{"protocol": "leave-one-out", "quantile": 0.5, "training": 8, "cold_items": 2},
        # The targets are the item 3 of everyone, on the days 9, 11, 12 and 3; T is day 8.5.
        **{"validation_targets": 4, "test_targets": 4, "cold": 1, "early": 0.25, "same_day": 0.25},
    }


def test_targets_at_the_time_that_the_share_does_not_exceed_are_not_before_it(tmp_path: Path) -> None:
    """Times in whole days: more than a tenth of the interactions lies on the last one."""
    inputs = write(
        tmp_path, days([1, 2, 9, 9], [1, 2, 3, 9], [1, 2, 2, 3], [1, 2, 3, 4]), 4, set(range(4)), set(range(4))
    )
    _, _, statistics = run(tmp_path, inputs, SplitConfig(quantile=0.9))
    # T is day 9, of 16 times between the places 14 and 15; the targets are on the days 9, 9, 3 and 4.
    assert statistics["split"]["early"] == 0.5 and statistics["split"]["same_day"] == 0.25


def test_unknown_times_are_refused_where_they_divide(tmp_path: Path) -> None:
    inputs = write(tmp_path, everybody(), 4, set(range(4)), set(range(4)))
    table = pl.read_parquet(inputs["interactions"])
    table.with_columns(timestamp=pl.lit(None, dtype=pl.Int64)).write_parquet(inputs["interactions"])
    with pytest.raises(DecorecError, match=r"interactions: expected a timestamp in every row.*found 16 without"):
        run(tmp_path, inputs, TEMPORAL)


def test_one_time_for_all_cannot_be_divided(tmp_path: Path) -> None:
    inputs = write(tmp_path, days(*[[7] * 4] * 4), 4, set(range(4)), set(range(4)))
    with pytest.raises(
        DecorecError, match=r"expected users with a validation target.*set split.protocol to leave-one-out"
    ):
        run(tmp_path, inputs, TEMPORAL)
