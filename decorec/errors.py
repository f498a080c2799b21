"""The exception for failures that users can correct, and the words for those that the operating system reports."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["MISHAPS", "DecorecError", "UnfitValuesError", "causes", "explain", "explaining"]


class DecorecError(Exception):
    """An expected failure of the input, the configuration or the environment.

    The message names the place (file, row, item or key), what was expected, what was found and what to do.
    The command line prints it without a traceback and exits with status 1. Any other exception is a defect and keeps
    its traceback.
    """


class UnfitValuesError(DecorecError):
    """The values of a run do not suit its data: training diverges, or a matrix cannot be inverted. Others may do."""


MISHAPS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("your share of the disk is used up", "free some space"),
    errno.EROFS: ("the file system is read-only", "make it writable, or work in another folder"),
    errno.EACCES: ("permission denied", "give yourself access to it, or work in another folder"),
    errno.EPERM: ("permission denied", "give yourself access to it, or work in another folder"),
    errno.EMFILE: ("too many files are open", "raise the limit, such as by `ulimit -n 4096`"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
    errno.EXDEV: ("its temporary file lies on another disk", "put the whole folder results/cache on one disk"),
    errno.EISDIR: ("expected a file, found a folder", "move it away"),
    errno.EEXIST: ("expected a folder, found a file", "move it away"),
    errno.ENOTDIR: ("expected a folder, found a file", "move it away"),
    errno.ENAMETOOLONG: ("the file system does not take so long a name", "work in a folder with a shorter path"),
    errno.EIO: ("the disk could not be read or written", "look for its fault in the system's log"),
    errno.ENOMEM: ("the memory is used up", "end other programs"),
}
"""What a user can do something about: cause and remedy by error number."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """``error``, and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explain(error: BaseException, place: Path | str) -> DecorecError | None:
    """The message for a mishap that the operating system reports, or for a package that is not installed.

    None if ``error`` is anything else. Polars and safetensors report a mishap as errors of their own, in words that
    end in its number.

    Args:
        error: what was raised.
        place: the file, for errors that name none, as those of a write do.
    """
    if isinstance(error, ModuleNotFoundError):
        return _missing(error.name or "")
    if isinstance(error, OSError):
        number, named = error.errno, error.filename2 or error.filename
    else:
        quoted = re.search(r"\(os error (\d+)\)", str(error))
        number, named = int(quoted[1]) if quoted else None, None
    if number not in MISHAPS:
        return None
    cause, remedy = MISHAPS[number]
    return DecorecError(f"{named or place}: {cause}; {remedy}, then run the same command again")


def _missing(module: str) -> DecorecError | None:
    """For a module of another package: how to install it, by the extra of this package that contains it if one does."""
    package = module.partition(".")[0].replace("_", "-")
    if package == "decorec":
        return None
    from importlib.metadata import PackageNotFoundError, requires

    with suppress(PackageNotFoundError):
        for line in requires("decorec") or ():
            needed = re.match(r"([\w-]+).*\bextra == [\"']([\w-]+)", line)
            if needed and needed[1].replace("_", "-").lower() == package and needed[2] != "dev":
                package = f"decorec[{needed[2]}]"
                break
    return DecorecError(
        f"expected the package {module.partition('.')[0]}, found that it is not installed; run: pip install '{package}'"
    )


@contextmanager
def explaining(target: Path) -> Iterator[None]:
    """While ``target`` is written, beside a temporary file: a mishap is raised as a DecorecError that names it."""
    try:
        yield
    except DecorecError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and _beside(error.filename, target):
            error.filename = str(target)
        explained = explain(error, target)
        if explained is None:
            raise
        raise explained from error


def _beside(named: object, target: Path) -> bool:
    return isinstance(named, str) and Path(named).parent == target.parent
