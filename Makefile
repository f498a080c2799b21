# Two commands: `make main` (a table from the embedded sample shop) and `make test`. Both set up .venv if needed.

CORES ?= all
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: main test fuzz soak setup programs results lint bench schema lock clean

main: setup
	$(BIN)/snakemake --cores $(CORES) results/tables/main.csv

# Files of tests in the order of tests/conftest.py, each by one worker. Tests that wait, for servers, schedulers and a
# browser, leave a core idle: so there are more workers than the two cores that this project is developed on.
test: setup programs
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Damages what a user writes at random, 20,000 times in all: only messages may come out. Four minutes or more.
fuzz: setup
	FUZZ=20000 $(BIN)/python -m pytest -n 2 tests/faults/test_fuzz.py

# Many more kills of the workflow than the one test of them makes.
KILLS ?= 100
SEED ?= 1
soak: setup
	KILLS=$(KILLS) SEED=$(SEED) $(BIN)/python -m pytest -s tests/faults/test_kills.py

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml envs/uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "expected Python 3.11 or newer, found $$($(PYTHON) -V); name another one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python envs/install.py requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# What some tests use beside Python: SLURM, a browser, and a database (whose programs Debian keeps off the PATH). Where it cannot be installed they skip and say so.
programs:
	@PATH="$$PATH:/usr/sbin:/sbin:$$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"; \
	need() { command -v "$$1" >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq >/dev/null \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$2 >/dev/null; } \
		|| echo "$$1 is missing, and the tests that use it will skip; as root: apt-get install $$2"; }; \
	need slurmctld "slurmctld slurmd slurm-client munge"; \
	command -v chromium-browser >/dev/null || need chromium chromium; \
	need postgres postgresql

# One page for each real data set: hours on two cores.
results: setup
	$(MAKE) docs/results.md
	$(MAKE) docs/results-hm.md
	$(MAKE) docs/results-hm-large.md

.PHONY: docs/results.md docs/results-hm.md docs/results-hm-large.md
docs/results.md: setup
	$(BIN)/snakemake --cores $(CORES) results/results.md --configfile \
		config/scientific.yaml config/competitors.yaml config/tuned-scientific.yaml config/advantages.yaml
	cp results/results.md $@

# With HM4SR, which reads the time stamps that this data set has.
docs/results-hm.md: setup
	$(BIN)/snakemake --cores $(CORES) results/results.md \
		--configfile config/hm.yaml config/competitors-times.yaml config/tuned-hm.yaml
	cp results/results.md $@

docs/results-hm-large.md: setup
	$(BIN)/snakemake --cores $(CORES) results/results.md --configfile config/hm-large.yaml config/tuned-hm-large.yaml
	cp results/results.md $@

# The paper's claims, with the ablations, on the data set whose clean files the paper's authors give.
.PHONY: docs/claims.md
docs/claims.md: setup
	$(BIN)/snakemake --cores $(CORES) results/tables/claims.md \
		--configfile config/scientific.yaml config/competitors.yaml config/tuned-scientific.yaml
	cp results/tables/claims.md $@

# Needs Graphviz (the command dot). Drawn anew whenever a rule changes.
docs/rulegraph.svg: workflow/Snakefile $(wildcard workflow/rules/*.smk) config.yaml | setup
	$(BIN)/snakemake --quiet all --rulegraph dot -- results/report/full.html | dot -Tsvg > $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow decorec/project/template/Snakefile docs/examples
	$(BIN)/snakemake --lint
	$(BIN)/python -m tests.support.audit

bench: setup
	$(BIN)/python -m benchmarks $(NAME)

schema: setup
	$(BIN)/python -m decorec schema --output workflow/schemas/config.schema.json
	$(BIN)/python -m docs.generate

# The bounds on torch keep it at a release whose torchvision is out as well.
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet
lock: setup
	$(COMPILE) --extra dev --output-file requirements.lock pyproject.toml
	echo uv | $(COMPILE) --output-file envs/uv.lock -

clean:
	rm -rf results/tables results/benchmarks logs
