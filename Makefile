# A fresh clone needs Python 3.11 (or later) and make; everything else is installed into .venv by the first target that
# wants it. `make help` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help demo test test-alone test-pythons attacks foreign test-clients bench soak soak-faults world risk-world fuzz coverage docs clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# PYTHON=/path/to/python chooses another interpreter. A name may exist and not start (pyenv's shims): so each is asked.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

# With a terminal the demo gets it, as a job of its own (set -m): Ctrl-C then ends the demo, which says goodbye and
# exits 0, and not make, which would report an error. Without one there is no Ctrl-C and exec is enough.
demo: $(VENV)/.installed  ## simulator, daemon and a sample strategy, about 20 seconds; Ctrl-C ends it
	@if [ -t 0 ]; then set -m; $(BIN)/ibbridge demo; else exec $(BIN)/ibbridge demo; fi

test: $(VENV)/.installed-dev  ## ruff, mypy --strict, pytest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not attack and not foreign and not long"

test-alone: $(VENV)/.installed-dev  ## the short attacks, which measure waiting and run alone, and weeks in virtual time
	$(BIN)/pytest -m "attack and not long"
	$(BIN)/pytest --numprocesses auto -o faulthandler_timeout=600 -m "long and not attack"

# Bounded: less than 4 GB of memory, ten minutes, and loopback only. The short ones are a part of `test-alone`.
attacks: $(VENV)/.installed-dev  ## the long attacks on a running daemon, one after the other
	$(BIN)/pytest --verbose -m "attack and long"

# What depends on the interpreter: the shell, the clients, the command line, and of the codec what is compiled.
OF_THE_INTERPRETER := tests/integration tests/test_house.py tests/conformance/test_captured.py \
	tests/conformance/test_recorded_ib_async.py tests/properties/test_stream_follower.py tests/scenarios/test_scenarios.py \
	$(filter-out tests/docs/test_docs.py tests/docs/test_schemas.py,$(wildcard tests/docs/test_*.py)) \
	tests/unit/codec/test_speedups.py $(filter-out \
	tests/unit/codec/% tests/unit/sim/% tests/unit/benchmarks/% tests/unit/soak/% tests/unit/fuzz/%, \
	$(wildcard tests/unit/test_*.py tests/unit/*/test_*.py))

test-pythons: $(VENV)/.installed-dev  ## the tests with every other Python that is here, 3.11 to 3.14
	.ci/pythons -m "not attack and not foreign and not long" $(OF_THE_INTERPRETER)

# Each in an environment of its own, because they want versions of one package that exclude each other.
foreign: $(VENV)/.installed-dev  ## clients of TWS that nobody here wrote, on the simulator
	$(BIN)/python -m tests.foreign.clients
	$(BIN)/pytest --verbose -m foreign tests/foreign

# For whoever writes a client in another language: this one was written from docs/protocol.md, and holds the daemon to it.
NODE_CLIENT := clients/node

test-clients: $(VENV)/.installed $(NODE_CLIENT)/node_modules/.installed  ## the Node.js client against daemon and simulator
	cd $(NODE_CLIENT) && npm run --silent check && npm test --silent

$(NODE_CLIENT)/node_modules/.installed: $(NODE_CLIENT)/package.json $(NODE_CLIENT)/package-lock.json
	@node -e 'process.exit(Number(process.versions.node.split(".")[0] < 18))' 2>/dev/null && npm --version >/dev/null 2>&1 || { \
		echo "the Node.js client needs Node.js 18 or later, and npm; on Debian 12 and Ubuntu 24.04: apt install nodejs npm" >&2; exit 1; }
	@echo "installing the packages of $(NODE_CLIENT) ..."
	@cd $(NODE_CLIENT) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

bench: $(VENV)/.installed-dev  ## decoding beside two other clients; throughput and latency beside a raw relay; orders
	$(BIN)/python benchmarks/decode.py
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/slow_subscriber.py
	$(BIN)/python benchmarks/snapshots.py --only-print
	$(BIN)/python benchmarks/floods.py
	$(BIN)/python benchmarks/orders.py

SECONDS ?= 600
RATE ?= 50000
SEED ?= 1
soak: $(VENV)/.installed-dev  ## a daemon under load, for SECONDS=600 at RATE=50000: exits 1 on loss, growth or too low a rate
	$(BIN)/python soak/soak.py --seconds $(SECONDS) --rate $(RATE) --at-least 0.98 --seed $(SEED)

soak-faults: $(VENV)/.installed-dev  ## a daemon whose TWS fails every few seconds, for SECONDS=600: exits 1 if anything is lost or left over
	$(BIN)/python soak/soak_faults.py --seconds $(SECONDS) --seed $(SEED)

SEEDS ?= 300
FIRST ?= 0
world: $(VENV)/.installed-dev  ## daemon, TWS, clients and faults from SEEDS=300 seeds, FIRST=0: exits 1 if an order is lost, doubled or told wrongly
	$(BIN)/python -m tests.world --seeds $(SEEDS) --first $(FIRST) --jobs $$(nproc)

STEPS ?= 1000000
risk-world: $(VENV)/.installed-dev  ## the gate and a second implementation of its rules over STEPS=1000000 random events: exits 1 where they disagree
	$(BIN)/python -m tests.risk_world --steps $(STEPS) --first $(FIRST) --jobs $$(nproc)

# Not a part of `test`: it is never done, and what it finds gets a test there.
fuzz: $(VENV)/.installed-fuzz  ## hostile bytes for the codec, for SECONDS=600; exits 1 on a finding
	$(BIN)/python -m fuzz.run --seconds $(SECONDS)

coverage: $(VENV)/.installed-dev  ## which branches the tests leave out
	$(BIN)/pytest --quiet --numprocesses auto --cov --cov-report=term-missing

docs: $(VENV)/.installed-dev  ## what is written from the code: config/ibbridge.yaml, docs/messages.md, ibbridge/schema
	$(BIN)/python -c 'from ibbridge.config.example import annotated; print(annotated(), end="")' > config/ibbridge.yaml.new
	mv config/ibbridge.yaml.new config/ibbridge.yaml
	$(BIN)/python -m ibbridge.docgen

clean:  ## removes everything that make made
	rm -f $(GENERATED) $(COMPILED:=.*.so)
	rm -rf $(VENV) .venv-3.* .foreign .machine $(NODE_CLIENT)/node_modules fuzz/found build dist *.egg-info .coverage .coverage.* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find ibbridge tests benchmarks soak fuzz -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

COMPILED := ibbridge/codec/_speedups ibbridge/streams/_sequencer ibbridge/zeromq/_zmq_send
COMPILED_FROM := ibbridge/codec/_speedups.pyx ibbridge/streams/sequencer.py ibbridge/zeromq/_zmq_send.pyx
GENERATED := $(addsuffix .c,$(basename $(COMPILED_FROM)))
INSTALLED_FROM := setup.cfg setup.py pyproject.toml $(COMPILED_FROM) $(wildcard ibbridge/streams/*.pxd)

# The compiled part of the codec is optional, and pip does not say that it was left out.
define SAY_IF_PURE
@$(BIN)/python -c 'from ibbridge.codec.speedups import BUILT; BUILT or print("no C compiler, or no Python.h: \
	ticks are decoded in pure Python, which is slower and otherwise the same")'
endef

# The stamps are younger than what they were installed from, or they are made again. An install that failed leaves none.
$(VENV)/.installed: $(INSTALLED_FROM) | $(BIN)/python
	@echo "installing ibbridge into $(VENV) ..."
	@$(PIP) install --editable .
	$(SAY_IF_PURE)
	@touch $@

$(VENV)/.installed-dev: $(INSTALLED_FROM) | $(BIN)/python
	@echo "installing ibbridge and its development tools into $(VENV) ..."
	@$(PIP) install --editable '.[dev]'
	$(SAY_IF_PURE)
	@touch $(VENV)/.installed $@

$(VENV)/.installed-fuzz: $(INSTALLED_FROM) | $(BIN)/python
	@echo "installing ibbridge and the fuzzer into $(VENV) ..."
	@$(PIP) install --editable '.[fuzz]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { \
		echo "ibbridge needs Python 3.11 or later, and none was found: install it, or say PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
