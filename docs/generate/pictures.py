"""The pictures of README.md and of the first tutorial, from the results of the sample shop as `make main` leaves them.

First: snakemake --cores all results/report/index.html. Needs Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from decorec.errors import DecorecError
from docs.generate import REPOSITORY
from docs.generate.notebook import TUTORIALS, blocks

__all__ = ["draw"]

PAGE = REPOSITORY / "results/report/index.html"
PICTURES = REPOSITORY / "docs/images"
ALONE = "body>*:not(main),main>*:not({part}){{display:none!important}}body{{padding:8px;max-width:none}}"
PARTS = {
    # The models with their intervals, without the tests.
    "models": (
        "#leaderboard",
        620,
        "#leaderboard>:not(.board),td:nth-child(n+5),thead th:nth-child(n+5){display:none}"
        ".board th[scope=row]{white-space:nowrap}",
    ),
    # The first of the customers whose next purchase stands in the list of the first model, and that list.
    "gallery": (
        "#gallery",
        760,
        "#gallery h2,#gallery h3,#gallery>p,.user:not(:has(.columns>:first-child .hit)),"
        ".user:has(.columns>:first-child .hit)~.user,.columns>div~.kept{display:none}.user{margin:0;border:0}",
    ),
}
"""Picture -> section of the page, width in pixels, and what else is hidden."""
TALL = 3000


def draw() -> None:
    """Write docs/images/*.png.

    Raises:
        DecorecError: the page is not there, or no browser.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise DecorecError("chromium: expected the browser, found none; as root: apt-get install chromium")
    if not PAGE.is_file():
        raise DecorecError(f"{PAGE}: expected the page, found none; snakemake --cores all results/report/index.html")
    PICTURES.mkdir(exist_ok=True)
    page = PAGE.read_text(encoding="utf-8")
    for name, (part, width, hidden) in PARTS.items():
        style = ALONE.format(part=part) + hidden
        with tempfile.TemporaryDirectory() as folder:
            file, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
            file.write_text(page.replace("</style>", f"{style}</style>", 1), encoding="utf-8")
            command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
            command += [f"--user-data-dir={folder}/profile", f"--window-size={width},{TALL}"]
            subprocess.run([*command, f"--screenshot={shot}", file.as_uri()], check=True, capture_output=True)
            _small(Image.open(shot).convert("RGB")).save(PICTURES / f"{name}.png", optimize=True)
    _run_the_tutorial()


def _small(picture: Image.Image) -> Image.Image:
    """Without the white around it, in 64 colours."""
    box = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    assert box is not None
    left, top, right, bottom = box
    around = (max(0, left - 8), max(0, top - 8), min(picture.width, right + 8), min(picture.height, bottom + 8))
    return picture.crop(around).quantize(64)


def _run_the_tutorial() -> None:
    """What the tutorial saves."""
    page = (TUTORIALS / "first-table.md").read_text(encoding="utf-8")
    here: dict[str, object] = {}
    exec("\n".join(blocks(page)), here)
    sheet = here["sheet"]
    assert isinstance(sheet, Image.Image)
    sheet.quantize(64).save(PICTURES / "next.png", optimize=True)
