"""python -m docs.generate: write config/README.md, draw the charts; python -m docs.generate pictures: the pictures."""

from __future__ import annotations

import sys

from decorec.errors import DecorecError
from docs.generate import REPOSITORY, configuration, curves, figures

if sys.argv[1:] == ["pictures"]:
    from docs.generate import pictures  # it needs Chromium and results

    try:
        pictures.draw()
    except DecorecError as error:
        sys.exit(str(error))
else:
    (REPOSITORY / "config/README.md").write_text(configuration.readme(), encoding="utf-8")
    figures.write()
    curves.write()
