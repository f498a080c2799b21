"""Install locked packages into this Python's environment: by uv, in a third of pip's time, or by pip where uv cannot.

    python envs/install.py requirements.lock

uv does not read pip's settings, so that those of a company's mirror are handed on: index, further indexes, folders of
wheels and certificates, from pip.conf and from the environment. Where pip has none, uv has none.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}
"""Setting of pip -> variable of uv."""
COMMAS = ("find-links",)
"""Settings of which uv separates the values by commas, and not by spaces as pip does."""


def settings(listed: str) -> dict[str, str]:
    """The settings in what `pip config list` prints, as variables of uv.

    Of one that is there several times, those for `pip install` count more than those for all commands, and the
    environment most; pip prints them in the alphabetical order of their places.
    """
    found: dict[tuple[int, str], str] = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        place, _, name = key.rpartition(".")
        if name in NAMES and place in (places := ("global", "install", ":env:")):
            found[places.index(place), name] = str(ast.literal_eval(value))
    return {
        NAMES[name]: ",".join(value.split()) if name in COMMAS else " ".join(value.split())
        for (_, name), value in sorted(found.items())
    }


def main(lock: Path) -> None:
    """Install what ``lock`` names, by checksum.

    Raises:
        subprocess.CalledProcessError: neither can; both have said why.
    """
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    uv = Path(sys.executable).with_name("uv")
    listed = subprocess.run([*pip[:3], "config", "list"], capture_output=True, text=True, check=True).stdout
    # As pip does, the best release of all indexes is taken; a checksum leaves no other choice.
    environment = os.environ | settings(listed) | {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    try:
        subprocess.run([*pip, "install", "--require-hashes", "-r", Path(__file__).with_name("uv.lock")], check=True)
        # Compiled as pip does: where no bytecode may be written later, each start would compile torch.
        options = ["--quiet", "--compile-bytecode", "--python", sys.executable, "--require-hashes"]
        subprocess.run([uv, "pip", "install", *options, "-r", lock], check=True, env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"uv could not install {lock} ({error}); trying pip, which takes longer", file=sys.stderr)
        subprocess.run([*pip, "install", "--require-hashes", "-r", lock], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
