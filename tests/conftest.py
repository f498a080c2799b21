"""One thread per test process: the processes share the cores, and threads that wait for each other spin."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
