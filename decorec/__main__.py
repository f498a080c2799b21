"""``python -m decorec STEP``: runs a step of the pipeline."""

from decorec.cli import main

if __name__ == "__main__":
    main()
