"""Pictures of every kind end up as small upright RGB JPEGs; broken ones are told apart."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decorec.acquire.crawl.image_normalisation import normalise
from decorec.acquire.crawl.outcome import PictureError
from decorec.acquire.crawl.picture_store import Store
from decorec.artifacts.layout import picture_path
from tests.support.hostile import picture, png

LIMIT = 10_000_000
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 128, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """60 x 40, one colour on the left, another on the right."""
    image = Image.new(mode, (60, 40), right)
    image.paste(left, (0, 0, 30, 40))
    return image


def corners(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Colours in the upper left and the lower right of the normalised picture."""
    found, _, _ = normalise(body, 256, LIMIT)
    pixels = found.astype(int)
    return pixels[3, 3], pixels[-4, -4]


def close(colour: np.ndarray, expected: tuple[int, ...], tolerance: int = 8) -> bool:
    return bool(np.all(np.abs(colour - np.array(expected)) <= tolerance))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    # Where each corner of the upright picture lies in the file, by the definition of the tag (EXIF 2.3, 4.6.4).
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30], upright[:20, 30:], upright[20:, :30], upright[20:, 30:] = RED, GREEN, BLUE, WHITE
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", quality=95, subsampling=0, exif=exif)
    found, width, height = normalise(body, 256, LIMIT)
    assert (width, height) == (60, 40)
    assert found.shape == (40, 60, 3)
    pixels = found.astype(int)
    for row, column, colour in ((5, 5, RED), (5, 55, GREEN), (35, 5, BLUE), (35, 55, WHITE)):
        assert close(pixels[row, column], colour, 12), (orientation, row, column)


def palette_with_alpha() -> bytes:
    image = halves((255, 0, 0, 255), (0, 0, 0, 0), "RGBA").quantize(8, method=Image.Quantize.FASTOCTREE)
    return encoded(image, "PNG")


def animation() -> bytes:
    frames = [halves(RED, BLUE), halves(GREEN, GREEN)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def sixteen_bits(form: str) -> bytes:
    return encoded(Image.fromarray(np.repeat(np.array([[20_000, 65_535]], np.uint16), 30, 1).repeat(40, 0)), form)


KINDS: dict[str, tuple[Callable[[], bytes], tuple[int, ...], tuple[int, ...]]] = {
    "RGB JPEG": (lambda: encoded(halves(RED, BLUE), "JPEG", quality=95), RED, BLUE),
    "progressive JPEG": (lambda: encoded(halves(RED, BLUE), "JPEG", progressive=True), RED, BLUE),
    "CMYK JPEG": (lambda: encoded(halves(RED, WHITE).convert("CMYK"), "JPEG", quality=95), RED, WHITE),
    "grey JPEG": (lambda: encoded(halves((50,), (200,), "L"), "JPEG"), (50, 50, 50), (200, 200, 200)),
    "palette": (lambda: encoded(halves(RED, BLUE).quantize(8), "PNG"), RED, BLUE),
    "palette with alpha": (palette_with_alpha, RED, WHITE),
    "RGBA": (lambda: encoded(halves((*RED, 255), (0, 0, 0, 0), "RGBA"), "PNG"), RED, WHITE),
    "half transparent": (
        lambda: encoded(halves((255, 0, 0, 128), (0, 0, 0, 0), "RGBA"), "PNG"),
        (255, 127, 127),
        WHITE,
    ),
    "grey with alpha": (lambda: encoded(halves((50, 255), (0, 0), "LA"), "PNG"), (50, 50, 50), WHITE),
    "transparent colour": (lambda: encoded(halves(RED, BLUE), "PNG", transparency=BLUE), RED, WHITE),
    "16 bit PNG": (lambda: sixteen_bits("PNG"), (78, 78, 78), WHITE),
    "16 bit TIFF": (lambda: sixteen_bits("TIFF"), (78, 78, 78), WHITE),
    "1 bit": (lambda: encoded(halves((0,), (255,), "L").convert("1"), "PNG"), (0, 0, 0), WHITE),
    "animation": (animation, RED, BLUE),
    "BMP": (lambda: encoded(halves(RED, BLUE), "BMP"), RED, BLUE),
    "WebP with alpha": (lambda: encoded(halves((*RED, 255), (0, 0, 0, 0), "RGBA"), "WEBP", lossless=True), RED, WHITE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_becomes_rgb(kind: str) -> None:
    make, left, right = KINDS[kind]
    first, last = corners(make())
    assert close(first, left) and close(last, right), (first, last)


def broken(body: bytes) -> str:
    with pytest.raises(PictureError) as caught:
        normalise(body, 256, LIMIT)
    assert caught.value.permanent
    return caught.value.error


def test_broken_pictures_are_told_apart() -> None:
    whole = picture(1, (300, 300))
    assert broken(b"") == "empty"
    assert broken(b"<!doctype html>") == "not-an-image"
    assert broken(whole[: len(whole) // 2]) == "truncated"
    assert broken(whole[:3]) == "not-an-image"
    assert broken(encoded(halves(RED, BLUE), "PNG")[:-60]) in ("truncated", "unreadable")
    assert broken(png(50_000, 50_000)) == "bomb"
    assert broken(png(100, 100, zlib.compress(b"short"))) in ("truncated", "unreadable")
    assert broken(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n") == "not-an-image"


@pytest.mark.parametrize("cut", range(0, 700, 37))
def test_no_prefix_of_a_picture_passes(cut: int) -> None:
    body = picture(3, (64, 64))
    assert cut < len(body) - 2
    assert broken(body[:cut]) in ("empty", "not-an-image", "truncated", "unreadable")


def test_flipped_bytes_never_raise_anything_else() -> None:
    rng = np.random.default_rng(0)
    for form in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        body = np.frombuffer(encoded(halves(RED, BLUE), form), np.uint8)
        for _ in range(60):
            damaged = body.copy()
            damaged[rng.integers(0, len(body), 8)] = rng.integers(0, 256, 8)
            try:
                found, _, _ = normalise(damaged.tobytes(), 64, 1_000_000)
            except PictureError as failure:
                assert failure.permanent
            else:
                assert found.shape[2] == 3 and min(found.shape[:2]) <= 64


def test_shorter_side_is_cut_to_the_limit_and_never_enlarged() -> None:
    for size, expected in (
        ((500, 500), (256, 256)),
        ((1_000, 500), (512, 256)),
        ((300, 900), (256, 768)),
        ((200, 900), (200, 900)),
        ((2_048, 2_048), (256, 256)),
        ((3_000, 257), (2_988, 256)),
    ):
        for form in ("JPEG", "PNG"):
            found, width, height = normalise(picture(1, size, form), 256, LIMIT)
            assert found.shape == (*expected[::-1], 3) and (width, height) == size


def test_resized_picture_is_faithful() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    original = coarse.resize((1_300, 1_300), Image.Resampling.BICUBIC)
    ours, _, _ = normalise(encoded(original, "JPEG", quality=95), 256, LIMIT)
    best = original.resize((256, 256), Image.Resampling.LANCZOS)
    error = ours.astype(float) - np.asarray(best).astype(float)
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 38, "decibel"


@pytest.mark.parametrize("size", [(500, 400), (400, 12_000)])
def test_resize_is_that_of_pillow(size: tuple[int, int]) -> None:
    """Also where Pillow holds the picture in several pieces of memory, each of 16 MB at most."""
    original = Image.radial_gradient("L").resize(size).convert("RGB")
    target = (round(size[0] * 0.6), round(size[1] * 0.6))
    ours, _, _ = normalise(encoded(original, "PNG", compress_level=1), min(target), LIMIT)
    expected = original.resize(target, Image.Resampling.BICUBIC)
    assert np.abs(ours.astype(int) - np.asarray(expected)).max() <= 1


def store_in(folder: Path) -> closing[Store]:
    return closing(Store(folder / "cache", folder / "parts", 256, LIMIT))


def test_store_keeps_once_per_content_and_leaves_no_parts(tmp_path: Path) -> None:
    bodies = [picture(number, (400, 300)) for number in range(20)] * 3 + [b"no picture"]
    with store_in(tmp_path) as store, ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda body: store.add(body).result(), bodies))
        assert not [path for path in (tmp_path / "parts").rglob("*") if path.is_file()]
    assert [outcome.sha256 for outcome in outcomes] == [hashlib.sha256(body).hexdigest() for body in bodies]
    assert [(o.status, o.width, o.height, o.error) for o in outcomes[:60]] == [("ok", 400, 300, None)] * 60
    assert (outcomes[60].status, outcomes[60].error) == ("permanent", "not-an-image")
    stored = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    names = {outcome.sha256 for outcome in outcomes[:60] if outcome.sha256}
    assert stored == sorted(picture_path(tmp_path / "cache", name) for name in names)
    assert not (tmp_path / "parts").exists()


def test_stored_bytes_are_the_same_every_time(tmp_path: Path) -> None:
    body = picture(1, (700, 500))
    paths = []
    for name in ("one", "two"):
        with store_in(tmp_path / name) as store:
            outcome = store.add(body).result()
        assert outcome.sha256 is not None
        paths.append(picture_path(tmp_path / name / "cache", outcome.sha256))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as image:
        assert image.size == (358, 256)


def test_leftovers_of_a_kill_are_removed_and_empty_files_not_trusted(tmp_path: Path) -> None:
    with store_in(tmp_path) as store:
        outcome = store.add(picture(1)).result()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "half").write_bytes(b"\xff\xd8")
    with store_in(tmp_path) as store:
        assert not [path for path in (tmp_path / "parts").rglob("*") if path.is_file()]
        assert store.knows(outcome)
        assert outcome.sha256 is not None
        picture_path(tmp_path / "cache", outcome.sha256).write_bytes(b"")
        assert not store.knows(outcome)
        picture_path(tmp_path / "cache", outcome.sha256).unlink()
        assert not store.knows(outcome)
