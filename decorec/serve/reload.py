"""A new model in place of the old one, without a pause: it is loaded beside it, then swapped."""

from __future__ import annotations

import hashlib
import logging
import threading
from contextlib import suppress
from pathlib import Path

from decorec.artifacts.seal import provenance
from decorec.errors import DecorecError, explain
from decorec.recommend.new_items import ADDED, DESCRIBED, read_descriptions
from decorec.recommend.score_parts import ScoreParts
from decorec.recommend.self_contained import MANIFEST, located
from decorec.recommend.trained import load
from decorec.serve.catalogue import Catalogue, Tables
from decorec.serve.clusters import Clusters
from decorec.serve.meters import Meters
from decorec.serve.worker import Loaded, Worker

__all__ = ["Reloader", "load_warm", "state_of"]

MODEL = ("config.json", "model.safetensors", ADDED)
FILES = [f"{stage}{name}" for stage in ("", "stage2/", "fit/") for name in MODEL]
"""What a run's folder may hold a model in (see ``decorec.recommend.trained.load``)."""
log = logging.getLogger("decorec")

State = tuple[tuple[int, int, int] | None, ...]


def load_warm(folder: Path, tables: Tables = Tables(), before: Loaded | None = None) -> Loaded:  # noqa: B008 (frozen)
    """The model of a run with all that is computed once: representations and vectors of the items, words of clusters.

    Args:
        folder: of the run.
        tables: what is known of its products; default: that of its data set.
        before: the model that it takes over from, whose catalogue it keeps if the files of it are the same.

    Raises:
        DecorecError: there is no trained model, or it is damaged, or a table is.
    """
    with provenance():  # so that weights beside the configuration of others are refused
        trained = load(folder)
    assert trained.folder is not None
    with (trained.folder / MODEL[1]).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _ = trained.representations
    try:
        trained.embed(trained.items[:1])
        vectors = True
    except DecorecError:
        vectors = False
    found = tables.of(folder)
    state = found, *(path and _facts(path) for path in (found.items, found.images, trained.folder / DESCRIBED))
    if before is not None and before.catalogue_state == state:
        catalogue = before.catalogue
    else:
        catalogue = Catalogue(found, read_descriptions(trained.folder))
    known = sum(item in catalogue.titles for item in trained.items)
    log.info("%d items, %d of them in the catalogue (%s)", len(trained.items), known, found.items)
    return Loaded(trained, digest, vectors, ScoreParts(trained), Clusters(trained, catalogue), catalogue, state)


class Reloader:
    """Loads the model again when its files have changed, or when asked to."""

    def __init__(self, folder: Path, tables: Tables, worker: Worker, meters: Meters, every: float, seen: State) -> None:
        """Watch a run.

        Args:
            folder: of the run.
            tables: what is known of its products.
            worker: gets the new models.
            meters: count the attempts.
            every: seconds between two looks at the files.
            seen: state of the files before the present model was loaded.
        """
        self._folder, self._tables, self._every = folder, tables, every
        self._worker, self._meters = worker, meters
        self._asked, self._ended = threading.Event(), False
        self._thread = threading.Thread(target=self._watch, name="reload")
        self._seen = seen
        self.error: str | None = None
        """Why the files that were written last could not be loaded."""

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End; a model that is being loaded is loaded to its end."""
        self._ended = True
        self._asked.set()
        self._thread.join()

    def ask(self) -> None:
        """Load now."""
        self._asked.set()

    def _watch(self) -> None:
        last = self._seen
        while True:
            asked = self._asked.wait(self._every)
            if asked:  # who asks behind the end of the wait is heard by the next one
                self._asked.clear()
            if self._ended:
                return
            state = state_of(self._folder)
            # The files belong together: a change counts when nothing has changed for a while.
            if asked or (state != self._seen and state == last):
                self._seen = state
                self._load()
            last = state

    def _load(self) -> None:
        try:
            loaded = load_warm(self._folder, self._tables, self._worker.current)
        except Exception as error:  # the old model must go on
            failure = error if isinstance(error, DecorecError) else explain(error, self._folder)
            self.error = str(failure or repr(error))
            self._meters.reloads.labels("failed").inc()
            log.error("the model stays as it is: %s", self.error, exc_info=None if failure else error)
            return
        self.error = None
        self._meters.reloads.labels("loaded").inc()
        self._worker.swap(loaded)
        log.info("new model: %d items, weights %s", len(loaded.trained.items), loaded.weights[:12])


def state_of(folder: Path) -> State:
    """What differs when a file of a run's model was written again."""
    with suppress(DecorecError):  # a manifest that is being written: it differs when it is complete
        return tuple(_facts(path) for path in [folder / MANIFEST, *(located(folder) / name for name in FILES)])
    return (_facts(folder / MANIFEST),)


def _facts(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
