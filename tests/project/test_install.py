"""envs/install.py: uv gets pip's settings, and where it cannot install, pip does."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.workplace import REPOSITORY

SCRIPT = REPOSITORY / "envs/install.py"


@pytest.fixture(scope="module")
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def own(variables: dict[str, str]) -> dict[str, str]:
    """The environment without the settings of pip and uv that this machine has."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return kept | {"XDG_CONFIG_DIRS": "/nowhere", "XDG_CONFIG_HOME": "/nowhere"} | variables


def test_the_settings_of_a_mirror_reach_uv(install: ModuleType, tmp_path: Path) -> None:
    """As pip prints them, from a file and from the environment; the environment counts most."""
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://mirror.example/simple\nfind-links = /one\n    /two\ntimeout = 9\n"
        "[install]\ncert = /own.pem\nextra-index-url = https://a.example/simple\n    https://b.example/simple\n"
        "[download]\ncert = /not/for/install\n"
    )
    variables = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_INDEX_URL": "https://nearer.example/simple"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, env=own(variables), capture_output=True, text=True, check=True).stdout
    assert install.settings(listed) == {
        "SSL_CERT_FILE": "/own.pem",
        "UV_DEFAULT_INDEX": "https://nearer.example/simple",
        "UV_FIND_LINKS": "/one,/two",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
    }


def wheel(folder: Path) -> tuple[Path, str]:
    """A package with one module, and its checksum."""
    file = folder / "tinything-1.0-py3-none-any.whl"
    parts = {
        "tinything.py": "VALUE = 7\n",
        "tinything-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n",
        "tinything-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in parts.items():
        checksum = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{name},sha256={checksum},{len(text)}\n"
    parts["tinything-1.0.dist-info/RECORD"] = f"{record}tinything-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return file, hashlib.sha256(file.read_bytes()).hexdigest()


def offline(folder: Path) -> dict[str, str]:
    """The environment in which pip and uv find the wheels of a folder and nothing else."""
    variables = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "UV_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}
    return own(variables | {"UV_CACHE_DIR": str(folder / "cache")})


def test_uv_compiles_what_it_installs_as_pip_does(tmp_path: Path) -> None:
    """Also where Python itself may write no bytecode: each start would compile every library anew."""
    pytest.importorskip("uv", reason="pip had to install this environment")
    _, checksum = wheel(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python, lock = tmp_path / "venv/bin/python", tmp_path / "some.lock"
    (packages,) = (tmp_path / "venv").glob("lib/*/site-packages")
    for name in ("pip", "uv"):  # both as they are here, so that nothing has to be fetched
        found = importlib.metadata.distribution(name)
        for file in found.files or ():
            if file.parts[0] != ".." and "__pycache__" not in file.parts:
                place = packages / file
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(found.locate_file(file))
    (tmp_path / "venv/bin/uv").symlink_to(Path(sys.executable).with_name("uv"))
    lock.write_text(f"tinything==1.0 --hash=sha256:{checksum}\n")
    environment = offline(tmp_path) | {"PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run([python, SCRIPT, lock], env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert (packages / "tinything.py").is_file() and list(packages.glob("__pycache__/tinything.*.pyc"))


def test_pip_installs_where_uv_is_out_of_reach(tmp_path: Path) -> None:
    """No index is allowed, so that uv itself cannot be had; and a wrong checksum is refused by both."""
    _, checksum = wheel(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python, lock = tmp_path / "venv/bin/python", tmp_path / "some.lock"
    environment = offline(tmp_path)

    def installed(checksum: str) -> subprocess.CompletedProcess[str]:
        lock.write_text(f"tinything==1.0 --hash=sha256:{checksum}\n")
        return subprocess.run([python, SCRIPT, lock], env=environment, capture_output=True, text=True)

    wrong = installed("0" * 64)
    assert wrong.returncode and "THESE PACKAGES DO NOT MATCH THE HASHES" in wrong.stderr
    right = installed(checksum)
    assert right.returncode == 0, right.stderr
    assert f"uv could not install {lock}" in right.stderr
    subprocess.run([python, "-c", "import tinything; assert tinything.VALUE == 7"], check=True)
