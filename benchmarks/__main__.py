"""python -m benchmarks NAME [options] runs benchmarks/NAME.py."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path


def main() -> None:
    """Run the benchmark that the first argument names, with the others as its arguments."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        sys.exit(f"usage: python -m benchmarks NAME [options]; NAME is one of {', '.join(names)}")
    name = sys.argv.pop(1)
    import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
