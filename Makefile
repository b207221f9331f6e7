# Everything a developer runs. Each target does its own set-up; PYTHON=python3.12 chooses the
# interpreter, ARGS="..." is handed on to the program that the target runs, WORKERS=1 runs tests in
# one process.

BIN := .venv/bin
ARGS ?=
PYTHON ?=
UPGRADE ?=
WORKERS ?= 2
PACKAGES := $(sort $(notdir $(patsubst %/,%,$(dir $(wildcard packages/*/pyproject.toml)))))
# mypy takes one package at a time, since test files of two packages may share a name.
TYPED := $(addprefix types-,$(PACKAGES))

export PYTHON UPGRADE

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## make .venv with every package in it; does nothing when it is up to date
	@scripts/setup

# What is measured is compiled, where there is a compiler; the table says which.
COMPILED := $(if $(shell command -v cc),compile,setup)

.PHONY: compile
compile: setup ## compile the engine and a request's way to it; takes minutes, and a C compiler
	$(BIN)/python scripts/compile_engine.py

.PHONY: run
run: setup ## start a three-node cluster on this machine, until Ctrl-C
	$(BIN)/sadik-node dev $(ARGS)

.PHONY: check
check: format-check lint types contracts audit ## formatting, lint, types, contracts, known holes

.PHONY: format
format: setup ## format everything, and fix what the linter can fix by itself
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format

.PHONY: format-check
format-check: setup
	$(BIN)/ruff format --check

.PHONY: lint
lint: setup
	$(BIN)/ruff check

.PHONY: types $(TYPED)
types: $(TYPED)
	$(BIN)/mypy --exclude ^tests/chaos/ scripts/*.py docs/conf.py conftest.py tests benchmarks fuzz
	$(BIN)/mypy tests/chaos
	$(BIN)/mypy docs/examples

$(TYPED): types-%: setup
	$(BIN)/mypy packages/$*/src $(wildcard packages/$*/tests packages/$*/benchmarks)

.PHONY: contracts
contracts: setup
	PURE_PYTHON=1 $(BIN)/lint-imports --no-logo
	$(BIN)/python scripts/purity.py

.PHONY: audit
audit: ## known vulnerabilities of what requirements.lock names; skipped where nobody can be asked
	@scripts/audit

# ARGS may choose none of one part's tests, which pytest reports as exit code 5.
pytest = $(BIN)/pytest $(1) $(ARGS) || { [ $$? = 5 ] && [ -n "$(strip $(ARGS))" ]; }

.PHONY: test
test: test-unit test-system ## all tests but the slow ones, in under ten minutes

.PHONY: test-unit
test-unit: setup ## the packages' own unit and property tests, in under a minute
	$(call pytest,-m "not slow and not system" -n $(WORKERS) --dist worksteal packages)

# They mostly wait for processes of their own. The tests of a file share clusters.
.PHONY: test-system
test-system: setup ## tests of whole programs, studies and clusters, but the slow ones
	$(call pytest,-m "system and not slow" -n $(WORKERS) --dist loadfile)

.PHONY: test-properties
test-properties: setup ## every property with 300 examples, where `make test` tries 20
	HYPOTHESIS_PROFILE=thorough $(call pytest,-m property -n $(WORKERS) --dist worksteal packages)

.PHONY: test-secured
test-secured: setup ## acceptance tests once more, with TLS and tokens for nodes and clients
	SECURED=1 $(BIN)/pytest -m "system and not slow and not open_cluster" $(ARGS) tests/acceptance

.PHONY: secured-slice
secured-slice: setup
	SECURED=1 $(BIN)/pytest -m "system and not slow" tests/acceptance/test_siblings.py \
	    tests/acceptance/test_http_framing.py tests/acceptance/test_command_line.py \
	    tests/acceptance/test_kill_loop.py \
	    tests/acceptance/test_tour.py::test_the_tour_is_as_printed

.PHONY: slow-clients
slow-clients: setup ## a minute of 10,000 idle and 2,000 slow clients at a node; CI runs a short form
	$(BIN)/pytest -s -k minute $(ARGS) tests/acceptance/test_slow_clients.py

.PHONY: test-campaigns
test-campaigns: setup ## tests too long for CI: a day of virtual time, every planted bug of the registers
	$(BIN)/pytest -m "campaign and not soak" $(ARGS)

.PHONY: test-all
test-all: setup ## all tests
	$(BIN)/pytest $(ARGS)

# ARGS="--long" for the long pass, ARGS="-k split" for one scenario.
.PHONY: chaos
chaos: setup ## faults on real processes, in network namespaces; needs root (tests/chaos/README.md)
	$(BIN)/pytest -m chaos --report build/chaos $(ARGS) tests/chaos

# ARGS="--minutes 10" for less than an hour.
.PHONY: soak
soak: setup ## an hour of mixed load and random faults on real processes, with a report
	$(BIN)/pytest -m soak --report build/soak $(ARGS) tests/chaos

.PHONY: chaos-slice
chaos-slice: setup
	$(BIN)/pytest -m chaos_slice --report build/chaos tests/chaos

.PHONY: bench
bench: $(COMPILED) ## the cluster's speed, compiled, beside a three-node etcd on the same machine
	$(BIN)/python benchmarks/bench.py $(ARGS)

# ARGS="after.json", as `make bench ARGS="--json FILE"` wrote it, or ARGS="before.json after.json".
.PHONY: bench-compare
bench-compare: setup ## whether a run of the benchmark differs from a baseline by more than noise
	$(BIN)/python benchmarks/compare.py $(ARGS)

.PHONY: bench-engine
bench-engine: setup ## what a request costs the engine: processor time, messages and bytes
	$(BIN)/python packages/sadik-sim/benchmarks/request_cost.py $(ARGS)

# ARGS="--parts keys --most-keys 1000000" for less; docs/scale.md has what came out.
.PHONY: bench-scale
bench-scale: setup ## how costs grow with nodes, keys, values and siblings; 15 minutes, 5 GB of disk
	$(BIN)/python benchmarks/scale.py $(ARGS)

.PHONY: bench-tls
bench-tls: setup ## what TLS costs between nodes, and clients: put and get, connections kept and new
	$(BIN)/python benchmarks/tls.py nodes $(ARGS)
	$(BIN)/python benchmarks/tls.py clients $(ARGS)

.PHONY: docs
docs: setup pictures ## build the manual into build/manual; warnings are errors
	$(BIN)/python scripts/manual.py build/manual
	@echo "build/manual/docs/index.html"

.PHONY: pictures
pictures: setup ## draw the manual's pictures and the dashboard anew
	$(BIN)/python scripts/pictures.py
	$(BIN)/python scripts/dashboard.py

.PHONY: screenshots
screenshots: setup ## take the pictures of the console anew, into docs/images
	$(BIN)/python scripts/screenshots

.PHONY: bench-storage
bench-storage: setup ## what each storage backend costs, and the host's group commit on the default
	$(BIN)/python packages/sadik-storage/benchmarks/bench_storage.py $(ARGS)
	$(BIN)/python packages/sadik-node/benchmarks/group_commit.py

.PHONY: bench-sim
bench-sim: compile ## seeds of the simulator per second of one core's time, compiled
	$(BIN)/python packages/sadik-sim/benchmarks/seeds_per_second.py $(ARGS)

.PHONY: bench-restart
bench-restart: setup ## how soon a node with a million keys serves after a clean stop, and after kill -9
	$(BIN)/python benchmarks/restart.py $(ARGS)

.PHONY: sim
sim: setup ## 20,000 seeds of the simulator, in the background of other work
	nice -n 19 $(BIN)/sadik-sim run --seeds 20000 $(ARGS)

# Planted bugs that are quick to find, from every part of the engine: the checks can fail.
SLICE_BUGS := ack-before-store read-shows-pending births-unreserved forward-retried-when-lost \
    gaps-rounded-up latest-wins majority-off-by-one notes-in-memory not-applied-after-store \
    delivery-given-up

.PHONY: sim-slice
sim-slice: setup ## what CI runs of the simulator: 300 seeds and ten planted bugs
	$(BIN)/sadik-sim run --seeds 300
	$(BIN)/sadik-sim registers --seeds 300
	$(BIN)/sadik-sim bugs --limit 40 $(SLICE_BUGS)

.PHONY: schemathesis
schemathesis: setup ## try a real node with thousands of cases made from its API's description
	scripts/schemathesis $(ARGS)

FUZZ_TARGETS := frames messages membership engine handshake records contexts http

# TARGET=name runs one fuzzer, and ARGS are its own: make fuzz TARGET=messages ARGS="--runs 1000000"
.PHONY: fuzz
fuzz: setup ## a minute of fuzzing, over all that peers and clients send (docs/security.md)
	@for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
	    $(BIN)/python fuzz/run.py $$target $(or $(ARGS),--seconds 8) || exit 1; \
	done

.PHONY: ci-slow
ci-slow: slow-tests test-properties secured-slice chaos-slice sim-slice schemathesis fuzz ## what CI runs beyond `make test`: slow tests, properties, campaigns

.PHONY: slow-tests
slow-tests: setup
	$(BIN)/pytest -m "slow and not campaign and not chaos" $(ARGS)

.PHONY: wheels
wheels: setup ## build the wheel of every package into dist/
	@rm -rf dist
	@for package in $(PACKAGES); do \
	    (cd packages/$$package && ../../$(BIN)/hatchling build -t wheel -d ../../dist) || exit 1; \
	done

.PHONY: lock
lock: ## resolve the dependencies into requirements.lock; UPGRADE=1 or UPGRADE=name takes newer ones
	@scripts/lock

.PHONY: clean
clean: ## remove what the targets made, the environment too
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find packages tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
