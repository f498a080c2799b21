"""What mkdocs calls while it builds the site: adds the generated pages and files, and turns equations into MathML."""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # mkdocs loads this file by its path

from docs.generate import REPOSITORY, commands, configuration, encoders, files, notebook, scale, source

MARKED = {
    "<!-- generated: sources -->": configuration.sources,
    "<!-- generated: encoders -->": encoders.tables,
    "<!-- generated: scale-steps -->": scale.steps,
    "<!-- generated: scale-tensors -->": scale.tensors,
}
"""Comment on a page -> what stands in its place."""
CODE = re.compile(r"^<!-- code: (\S+): (\S+) -->$", re.MULTILINE)
FILE = re.compile(r"^<!-- file: (\S+) -->$", re.MULTILINE)
WIDE = ("reference/cli.md", "reference/configuration.md")
"""Pages whose tables are lists of entries on a narrow screen (site.css)."""
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(found: Files, config: MkDocsConfig) -> Files:
    """Add what is generated."""
    generated = {
        "reference/cli.md": commands.page(),
        "reference/configuration.md": configuration.page(),
        "reference/files.md": files.page(),
        "reference/changelog.md": (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"),
        **notebook.notebooks(),
    }
    for path, content in generated.items():
        found.append(File.generated(config, path, content=content))
    return found


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the marked places, and the code that a page names."""
    for mark, content in MARKED.items():
        if mark in markdown:
            markdown = markdown.replace(mark, content())
    up = "../" * page.file.src_uri.count("/")  # pages lead to the file, so that they can be read without the site
    for file, generated in (("config/README.md", "configuration"), ("results/README.md", "files")):
        markdown = markdown.replace(f"](../{up}{file}", f"]({up}reference/{generated}.md")
    markdown = FILE.sub(lambda match: source.whole(match[1]), markdown)
    return CODE.sub(lambda match: source.folded(match[1], match[2]), markdown)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Equations as MathML, which browsers draw without a script; tables of entries are marked."""

    def equation(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        return convert(html.unescape(match[3]).strip(), display=display)

    content = EQUATION.sub(equation, content)
    return f'<div class="entries">{content}</div>' if page.file.src_uri in WIDE else content
