"""What a folder and its configuration have of what a call of Snakemake needs; each check says it in a line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from decorec.acquire.addresses import without_passwords
from decorec.acquire.sources import amazon
from decorec.acquire.sources.registry import open_tables
from decorec.artifacts import layout
from decorec.config import Config, load
from decorec.config.base import merge
from decorec.config.datasets import INGESTED, AmazonDataset, AtomicDataset, FolderDataset
from decorec.config.features import FOLDER
from decorec.errors import DecorecError
from decorec.plan.call import Call
from decorec.plan.machine import SECONDS, Finding
from decorec.plan.running import living

__all__ = ["configuration", "lock", "network", "sources", "weights"]


def configuration(folder: Path, overlays: Sequence[Path]) -> tuple[Config | None, Finding]:
    """The configuration as a call of Snakemake with these overlays has it."""
    import yaml

    values: dict[str, Any] = {}
    files = [folder / "config.yaml", *overlays]
    for file in files:
        try:
            more = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            remedy = (
                "correct --configfile"
                if file in overlays
                else "start in the folder that has it; decorec init NAME makes one"
            )
            return None, Finding("missing", "configuration", f"{file}: expected a YAML file, found none; {remedy}")
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            return None, Finding("missing", "configuration", f"{file}: expected a YAML file, found {error}")
        if not isinstance(more, Mapping):
            return None, Finding("missing", "configuration", f"{file}: expected keys and values, found {more!r:.60}")
        values = merge({**values, **({"datasets": {}} if "datasets" in more else {})}, more)
    try:
        config = load(values, " with ".join(map(str, files)))
    except DecorecError as error:
        return None, Finding("missing", "configuration", str(error))
    seeds = f"{len(config.seeds)} seed{'s' * (len(config.seeds) != 1)}"
    what = f"{', '.join(config.datasets)}; {len(config.runs)} runs, {seeds}"
    return config, Finding("ok", "configuration", f"{' with '.join(map(str, files))} is valid: {what}")


def sources(config: Config, folder: Path) -> list[Finding]:
    """The files of the data sets that lie on this machine."""
    lines = []
    for name, section in config.datasets.items():
        if isinstance(section, FolderDataset):
            try:
                own = open_tables(section.model_copy(update={"path": str(folder / section.path)})).paths()
            except DecorecError as error:
                lines.append(Finding("missing", f"data set {name}", str(error)))
                continue
            files = [path.relative_to(folder) if path.is_relative_to(folder) else path for path in dict.fromkeys(own)]
        elif isinstance(section, AtomicDataset):
            endings = ("train.inter", "item2index", *section.features.values())
            files = [Path(section.path) / f"{section.name}.{ending}" for ending in endings]
        elif isinstance(section, AmazonDataset):
            try:
                files = [path for url in amazon.urls(section) if (path := amazon.local_path(url)) is not None]
            except DecorecError as error:
                lines.append(Finding("missing", f"data set {name}", str(error)))
                continue
        else:
            continue
        lacking = [str(file) for file in files if not os.access(folder / file, os.R_OK)]
        if lacking:
            text = f"cannot be read: {', '.join(lacking)}; correct datasets.{name}, or put the files there"
            lines.append(Finding("missing", f"data set {name}", text))
        elif files:
            lines.append(Finding("ok", f"data set {name}", f"{len(files)} files in {files[0].parent}"))
    return lines


def weights(config: Config, folder: Path, home: Path | None = None) -> Finding:
    """The files of the encoders, and published weights; ``home``: the user's, where packages keep what they fetched."""
    settings, home = config.features, home or Path.home()
    if not any(section.source in INGESTED for section in config.datasets.values()):
        return Finding("ok", "weights", "none needed: the features are given")
    ways = set() if settings.pinned is not None else set(settings.ways.values())
    named = [("clip", settings.model, settings.weights, "weights")]
    named += [("open_clip", settings.text_model, settings.text_weights, "text_weights")]
    tagged = [
        (model, tag, key)
        for way, model, tag, key in named
        if way in ways and not model.startswith(FOLDER) and not (folder / tag).is_file()
    ]
    tags = {Path(tag) for _, tag, _ in tagged}
    places = [folder / path for path in settings.files if path not in tags]
    for place in places:
        if not place.exists():
            return Finding("missing", "weights", f"expected {place}, found nothing there; correct the section features")
        if not os.access(place, os.R_OK):
            return Finding("missing", "weights", f"{place}: cannot be read; give yourself access to it")
    lacking = [name for name in settings.repositories if not _kept(name, home).exists()]
    published = [_published(*one, home) for one in tagged]
    worst = next((found for state in ("missing", "warning") for found in published if found.state == state), None)
    if worst is not None or (published and not lacking):
        return worst or Finding("ok", "weights", "; ".join(found.text for found in published))
    if lacking:
        text = f"{', '.join(lacking)}: not on this machine, and the step features will fetch it"
        return Finding("warning", "weights", f"{text}; without network, see docs/how-to/encoders.md")
    found = [*map(str, places), *settings.repositories]
    return Finding("ok", "weights", ", ".join(found) or "none needed (features.encoder: fit)")


def _kept(repository: str, home: Path) -> Path:
    """Where a repository of the Hugging Face hub is kept."""
    return home / ".cache" / "huggingface" / "hub" / f"models--{repository.replace('/', '--')}"


def _published(model: str, tag: str, key: str, home: Path) -> Finding:
    from open_clip.pretrained import get_pretrained_cfg  # it loads torch

    known = get_pretrained_cfg(model, tag)
    if not known and not model.startswith("hf-hub:"):
        text = f"expected a file, or a tag of {model}, found {tag!r}; correct features.{key}"
        return Finding("missing", "weights", text)
    if known.get("url"):
        kept, where = home / ".cache" / "clip" / Path(known["url"]).name, known["url"]
    else:
        where = model.removeprefix("hf-hub:") if not known else known["hf_hub"].strip("/")
        repository = "/".join(where.split("/")[:2])
        kept = _kept(repository, home)
    if kept.exists():
        return Finding("ok", "weights", f"{tag} of {model}, fetched before: {kept}")
    text = f"{tag} of {model} is not on this machine, and the step features will fetch it ({where})"
    return Finding("warning", "weights", f"{text}; without network, put the file somewhere and name it: features.{key}")


def network(config: Config) -> list[Finding]:
    """Whether the servers of the data sets answer; those whose files are downloaded already are not asked."""
    import requests

    lines = []
    for name, section in config.datasets.items():
        if not isinstance(section, AmazonDataset) or Path(layout.fill(layout.CHECKSUMS, dataset=name)).is_file():
            continue
        try:
            urls = [url for url in amazon.urls(section) if amazon.local_path(url) is None]
        except DecorecError:  # ``sources`` says so
            continue
        for url in urls[:1]:
            shown = without_passwords(url)
            try:
                status = requests.head(url, timeout=SECONDS, allow_redirects=True).status_code
                answer = "answers" if status < 400 else f"answers with status {status}"
            except requests.RequestException as error:
                status, answer = 0, f"does not answer ({type(error).__name__})"
            good = 0 < status < 400
            advice = "" if good else f"; try later, or set datasets.{name}.base_url to a mirror or a local copy"
            lines.append(Finding("ok" if good else "missing", f"network, {name}", f"{shown} {answer}{advice}"))
    return lines or [Finding("ok", "network", "no server is needed")]


def lock(folder: Path) -> Finding:
    """Whether Snakemake may run in a folder; ``folder``: its .snakemake."""
    if alive := living(folder):
        call = Call.read(folder)
        who = f": {call.run}" if call is not None and call.run.id in alive else ""
        return Finding("warning", "lock", f"Snakemake runs in this folder{who}; see decorec status")
    if any((folder / "locks").glob("*.lock")):
        return Finding("ok", "lock", "a run that was killed left one, which the next call releases")
    return Finding("ok", "lock", "none: nothing runs in this folder")
