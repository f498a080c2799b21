"""``python -m decorec STEP``: runs a step of the pipeline."""

import atexit
import gc
import os
import sys


def run() -> None:
    """The command, without what Python does besides: a fifth of the time of a short step that needs torch."""
    from decorec.prefork import hand_over

    if (status := hand_over(sys.argv[1:])) is not None:
        os._exit(status)
    gc.disable()  # among modules, which stay, there is no garbage to be looked for; ``main`` enables it for the step
    from decorec.cli import main

    main()
    # Python would take all modules apart, one after the other.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    run()
