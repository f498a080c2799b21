"""``python -m decorec <step>``: every step of the pipeline as a command of its own."""

from decorec.cli import main

if __name__ == "__main__":
    main()
