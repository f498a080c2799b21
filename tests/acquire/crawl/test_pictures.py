"""Pictures of every kind end up as small upright RGB JPEGs; broken ones are told apart."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from decorec.acquire.crawl import image_normalisation
from decorec.acquire.crawl.image_normalisation import LONGEST_RATIO, LONGEST_SIDE, as_jpeg, normalise
from decorec.acquire.crawl.outcome import PictureError
from tests.support.hostile import picture, png

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases" / "pictures"
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


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_orientation_is_applied_once_in_every_format(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {"save_all": True} if form == "MPO" else {}
    try:
        body = encoded(halves(RED, BLUE).rotate(90, expand=True), form, exif=exif, **options)
    except (KeyError, OSError):
        pytest.skip(f"this build of Pillow does not write {form}")
    found, width, height = normalise(body, 256, LIMIT)
    assert (width, height) == (60, 40) and found.shape == (40, 60, 3)
    assert close(found[3, 3], RED, 12) and close(found[-4, -4], BLUE, 12)


def palette_with_alpha() -> bytes:
    image = halves((255, 0, 0, 255), (0, 0, 0, 0), "RGBA").quantize(8, method=Image.Quantize.FASTOCTREE)
    return encoded(image, "PNG")


def animation() -> bytes:
    frames = [halves(RED, BLUE), halves(GREEN, GREEN)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def shades(values: list[float], kind: str, form: str) -> bytes:
    """Two shades of grey, as numbers of a type of numpy."""
    return encoded(Image.fromarray(np.repeat(np.array([values], kind), 30, 1).repeat(40, 0)), form)


def tiff(samples: bytes, order: bytes, bits: int, white_is_zero: bool = False) -> bytes:
    """60 x 40 shades of grey as unsigned whole numbers, which Pillow does not write in each of these forms."""
    code = {b"II": "<", b"MM": ">"}[order]
    tags = {256: 60, 257: 40, 258: bits, 259: 1, 262: int(not white_is_zero), 273: 8, 277: 1, 278: 40}
    entries = [struct.pack(f"{code}HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items()]
    entries.append(struct.pack(f"{code}HHII", 279, 4, 1, len(samples)))
    head = order + struct.pack(f"{code}HI", 42, 8 + len(samples))
    table = struct.pack(f"{code}H", len(entries)) + b"".join(entries) + bytes(4)
    return head + samples + table


def rows(left: bytes, right: bytes) -> bytes:
    return (left + right) * 40


def clear(depth: int, colour: int, left: bytes, right: bytes, transparent: bytes, palette: bytes = b"") -> bytes:
    """A PNG of 60 x 40; ``left`` and ``right`` are the halves of a line, ``transparent`` its chunk tRNS."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, depth, colour, 0, 0, 0))
    colours = chunk(b"PLTE", palette) if palette else b""
    data = chunk(b"IDAT", zlib.compress((b"\0" + left + right) * 40))
    return b"\x89PNG\r\n\x1a\n" + header + colours + chunk(b"tRNS", transparent) + data + chunk(b"IEND", b"")


GREY, RGB_COLOURS, PALETTE = 0, 2, 3
SHORT = struct.Struct(">H").pack

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
    "16 bit PNG": (lambda: shades([20_000, 65_535], "uint16", "PNG"), (78, 78, 78), WHITE),
    "16 bit TIFF": (lambda: shades([20_000, 65_535], "uint16", "TIFF"), (78, 78, 78), WHITE),
    "16 bit TIFF, high byte first": (
        lambda: tiff(rows(b"\x4e\x20" * 30, b"\xff\xff" * 30), b"MM", 16),
        (78, 78, 78),
        WHITE,
    ),
    "16 bit TIFF, 0 is white": (
        lambda: tiff(rows(b"\xdf\xb1" * 30, b"\0\0" * 30), b"II", 16, white_is_zero=True),
        (78, 78, 78),
        WHITE,
    ),
    "12 bit TIFF": (lambda: tiff(rows(b"\x4e\x24\xe2" * 15, b"\xff" * 45), b"II", 12), (78, 78, 78), WHITE),
    "32 bit TIFF": (
        lambda: tiff(rows(b"\0\0\x20\x4e" * 30, b"\xff\xff\xff\xff" * 30), b"II", 32),
        (78, 78, 78),
        WHITE,
    ),
    "32 bits for 8": (lambda: shades([78, 255], "int32", "TIFF"), (78, 78, 78), WHITE),
    "fractions": (lambda: shades([0.305, 1.0], "float32", "TIFF"), (78, 78, 78), WHITE),
    "fractions up to 255": (lambda: shades([78.0, 255.0], "float32", "TIFF"), (78, 78, 78), WHITE),
    "not a number": (lambda: shades([float("nan"), 1.0], "float32", "TIFF"), (0, 0, 0), WHITE),
    "transparent shade of 1 bit": (
        lambda: clear(1, GREY, b"\0\0\0\x03", b"\xff" * 4, SHORT(0)),
        WHITE,
        WHITE,
    ),
    "transparent shade of 2 bits": (
        lambda: clear(2, GREY, b"\x55" * 7 + b"\x5a", b"\xaa" * 7, SHORT(1)),
        WHITE,
        (170, 170, 170),
    ),
    "transparent shade of 4 bits": (
        lambda: clear(4, GREY, b"\x55" * 15, b"\xaa" * 15, SHORT(5)),
        WHITE,
        (170, 170, 170),
    ),
    "transparent shade of 16 bits": (
        lambda: clear(16, GREY, SHORT(20_000) * 30, SHORT(20_001) * 30, SHORT(20_000)),
        WHITE,
        (78, 78, 78),
    ),
    "transparent colour of 16 bits": (
        lambda: clear(16, RGB_COLOURS, b"\x0a\0\x14\0\x1e\0" * 30, b"\x28\0\x32\0\x3c\0" * 30, b"\x0a\0\x14\0\x1e\0"),
        WHITE,
        (40, 50, 60),
    ),
    "palette with one transparent colour": (
        lambda: clear(4, PALETTE, b"\0" * 15, b"\x11" * 15, b"\0", bytes([255, 0, 0, 0, 255, 0])),
        WHITE,
        (0, 255, 0),
    ),
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


def test_too_narrow_pictures_are_refused_before_they_are_decoded() -> None:
    for size in ((1, LONGEST_RATIO + 1), (7_000, 100)):
        body = encoded(Image.new("RGB", size), "PNG")
        assert broken(body) == broken(body[:60]) == "aspect-ratio"
    found, _, _ = normalise(encoded(Image.new("RGB", (1, LONGEST_RATIO)), "PNG"), 256, LIMIT)
    assert found.shape == (LONGEST_RATIO, 1, 3)


def test_no_side_is_longer_than_the_store_can_write(monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_jpeg(np.zeros((1, LONGEST_SIDE, 3), np.uint8))
    monkeypatch.setattr(image_normalisation, "LONGEST_SIDE", 500)
    for size, expected in (((2_000, 100), (500, 25)), ((100, 600), (83, 498)), ((500, 100), (500, 100))):
        found, width, height = normalise(encoded(Image.new("RGB", size), "PNG"), 256, LIMIT)
        assert (width, height) == size and found.shape[1::-1] == expected


def test_a_picture_that_cannot_be_stored_is_an_error_of_its_own() -> None:
    with pytest.raises(PictureError) as caught:
        as_jpeg(np.zeros((1, LONGEST_SIDE + 1, 3), np.uint8))
    assert caught.value.error == "not-storable" and caught.value.permanent


def test_bands_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = Image.radial_gradient("L").resize((1_201, 1_103))
    for image in (gradient, gradient.convert("RGB"), Image.merge("LA", (gradient, gradient))):
        body = encoded(image, "PNG", compress_level=1)
        whole, _, _ = normalise(body, 64, LIMIT)
        with monkeypatch.context() as patch:
            patch.setattr(image_normalisation, "BAND", 100_000)
            bands, _, _ = normalise(body, 64, LIMIT)
        assert np.array_equal(whole, bands)


WRONG = {
    "README": "not-an-image",
    "a.ico": "not-an-image",
    "a.jp2": "not-an-image",
    "a.svg": "not-an-image",
    "html.jpg": "not-an-image",
    "strip60000.jpg": "aspect-ratio",
    "thin70000.png": "aspect-ratio",
    "thin9000.png": "aspect-ratio",
    "trunc.jpg": "truncated",
    "trunc.png": "truncated",
    "trunc_2bytes.jpg": "truncated",
    "wide70000.png": "aspect-ratio",
}
"""Case -> class of its failure; every other case is a picture."""
SAME = {
    "exif6.tif": "exif6.png",
    "exif6.webp": "exif6.png",
    "exif6.jpg": "exif6.png",
    "exif6.avif": "exif6.png",
    "mpo.jpg": "plain.png",
    "cmyk.jpg": "plain.png",
    "palette.png": "plain.png",
    "rgb16.png": "plain.png",
    "a.bmp": "plain.png",
    "anim.gif": "plain.png",
    "anim.png": "plain.png",
    "anim.webp": "plain.png",
    "ycbcr.tif": "plain.png",
    "gray16_trns.png": "gray16.png",
    "float.tif": "gray16.png",
    "float255.tif": "gray16.png",
    "int32_255.tif": "gray16.png",
    "int32_65535.tif": "gray16.png",
}
"""Case -> the case that shows the same picture."""


@pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")
def test_cases() -> None:
    limit = 64_000_000
    found = {}
    for path in sorted(CASES.iterdir()):
        try:
            found[path.name], _, _ = normalise(path.read_bytes(), 256, limit)
            assert as_jpeg(found[path.name])
        except PictureError as failure:
            assert failure.permanent and failure.error == WRONG.get(path.name), path.name
    assert not set(WRONG) & set(found)
    for name, other in SAME.items():
        assert found[name].shape == found[other].shape, name
        difference = np.abs(found[name].astype(int) - found[other])
        assert difference.mean() <= 3, name  # JPEG and AVIF lose sharpness at edges
