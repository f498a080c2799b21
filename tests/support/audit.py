"""Known holes in the locked packages: fails if there is one, and says so if the data base cannot be asked.

python -m tests.support.audit
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import requests

LOCK = Path(__file__).parents[2] / "requirements.lock"
DATABASE = "https://api.osv.dev/v1/query"
HARMLESS = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "26.3"}
SECONDS_TO_ANSWER = 4.0
SECONDS_IN_ALL = 120.0


def audit(lock: Path = LOCK, database: str = DATABASE) -> int:
    """Print the known holes of the packages of ``lock``, or why it was skipped; exit status 1 if there are any."""
    problem = _unreachable(database)
    if problem is None:
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
        command += ["--vulnerability-service", "osv", "--osv-url", database, "--format", "json"]
        try:
            done = subprocess.run(
                [*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=SECONDS_IN_ALL
            )
        except subprocess.TimeoutExpired:
            problem = f"not done after {SECONDS_IN_ALL:.0f} s"
        else:
            if done.returncode not in (0, 1):  # it was called wrongly
                print(done.stderr, file=sys.stderr)
                return done.returncode
            if done.stdout.strip():
                return _report(json.loads(done.stdout))
            problem = (done.stderr.strip().splitlines() or ["no report"])[-1]
    print(f"audit: skipped, {database} cannot be asked: {problem}")
    return 0


def _unreachable(database: str) -> str | None:
    """Why the data base does not answer; None if it does. A look-up of a name has no time limit of its own."""
    found = ["no answer"]

    def ask() -> None:
        try:
            requests.post(database, json=HARMLESS, timeout=SECONDS_TO_ANSWER).raise_for_status()
            found.clear()
        except requests.RequestException as error:
            found[:] = [f"{type(error).__name__}: {error}"]

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_ANSWER + 1)
    return found[0] if found else None


def _report(found: dict[str, list[dict[str, object]]]) -> int:
    holes = [
        (package["name"], package["version"], hole["id"], ", ".join(hole["fix_versions"]) or "none yet")
        for package in found["dependencies"]
        for hole in package.get("vulns", [])
    ]
    print(f"audit: {len(found['dependencies'])} packages, {len(holes)} known holes")
    for name, version, hole, mended in holes:
        print(f"  {name} {version}: {hole}, mended in: {mended}")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(audit())
