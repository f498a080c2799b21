"""The site is built, strictly: links and anchors lead somewhere, every page has its place, nothing is fetched."""

from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path

import pytest

from tests.support.workplace import REPOSITORY

NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason="the packages of the site are not installed"
)
FETCHED = re.compile(r"""<(?:script|img|iframe|link|source)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//[^"'\s>]+[^>]*>""")
"""Markup that loads from another host; a link to click does not."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning of mkdocs (a dead link, a page that is not in the navigation) is a failure."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    with (REPOSITORY / "mkdocs.yml").open("rb") as file:
        config = load_config(file, site_dir=str(folder))
    found: list[str] = []

    class Warnings(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    handler = Warnings(logging.WARNING)
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        config.plugins.on_startup(command="build", dirty=False)
        build(config)
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
        config.plugins.on_shutdown()
    assert not found, "\n".join(found)
    return folder


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = [page.relative_to(REPOSITORY / "docs") for page in (REPOSITORY / "docs").rglob("*.md")]
    pages += [Path(f"reference/{name}.md") for name in ("cli", "configuration", "files", "changelog")]
    for page in pages:
        built = page.with_suffix(".html")
        assert (site / built).is_file(), built
    sections = re.findall(r'class="md-tabs__link"[^>]*>\s*([^<]+?)\s*<', home)
    assert {"Tutorials", "How to", "Explanation", "Reference", "Results"} <= set(sections), sections
    assert {page.stem for page in (site / "tutorials").glob("*.ipynb")} == {"first-table", "your-shop", "experiment"}
    assert not list(site.rglob("*.py*")), "the generators are no pages"


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        found = [tag for tag in FETCHED.findall(page.read_text(encoding="utf-8")) if 'rel="canonical"' not in tag]
        assert not found, f"{page}: {found}"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_code_and_equations_stand_in_the_pages(site: Path) -> None:
    method = (site / "explanation/method.html").read_text(encoding="utf-8")
    assert method.count('<details class="example">') >= 12 and "<!-- code" not in method
    assert method.count('display="block"') >= 9 and "arithmatex" not in method
    assert "count_pairs" in method
    assert "amazon2018" in (site / "how-to/sources.html").read_text(encoding="utf-8")
    api = (site / "reference/api.html").read_text(encoding="utf-8")
    for name in ("load", "TrainedRun.recommend", "ExtensibleRun.add_items", "Recommendation"):
        assert f".{name}" in api, name
