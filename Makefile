# Two commands matter: `make demo` and `make test`. Each does all of its own set-up, and can be
# repeated: what is up to date is not done again.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
EXTRAS := $(VENV)/.extras
WORKERS ?= 3
NATIVE := $(wildcard _native/*.pyx _native/*.pxd)

# The Rust agents. `make test RUST=no` leaves them out, where there is no cargo.
RUST   ?= yes
CARGO  ?= $(or $(shell command -v cargo),$(wildcard $(HOME)/.cargo/bin/cargo),cargo)
# Without make's flags: how many compilers run at once is cargo's own to say.
CRATES := MAKEFLAGS= CARGO_TARGET_DIR=$(CURDIR)/build/rust $(CARGO)
RUST_DIR := plugins/harness_agents/rust

# What was printed together is shown together, where this make can.
TOGETHER := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# Tests start a thousand Pythons: whoever set this would have every one of them compile all sources.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test checks extras lint rust browser fuzz sanitize valgrind soak bench peers native clean help

help:
	@echo "make demo    a real benchmark of a real engine, with a tiny model"
	@echo "make test    ruff, mypy, the Rust agents and the whole test suite (RUST=no: without cargo)"
	@echo "make rust    the Rust agents: formatted, linted, tested, built"
	@echo "make bench   what measuring costs: framing, reactor, kernels"
	@echo "make peers   AIPerf, GuideLLM and us against the same truth server (PEERS=--quick)"
	@echo "make fuzz    an hour of coverage-guided fuzzing of the stream parser"
	@echo "make sanitize  native tests under ASan, UBSan and TSan"
	@echo "make valgrind  native tests under valgrind's memcheck"
	@echo "make soak    ten million chunks through one process: does it stay as it is?"
	@echo "make native  rebuild the compiled part (HARNESS_NATIVE_DEBUG=1: with checks)"
	@echo "make browser  a headless Chromium for the tests, where there is none (make test does it)"
	@echo "make clean   remove what these commands made"

demo: $(READY)
	$(BIN)/harness run plugins/harness_single_agent/specs/demo.yaml

# What measures, or judges what was measured, has the machine to itself; the rest shares it, with a
# worker more than it has cores: tests wait for processes and servers.
test: checks
	$(BIN)/python -m pytest -m "not quiet" -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -m quiet

# Beside each other: what waits for a network, and what computes.
checks: $(READY)
	@echo "mypy, the Rust agents, torch and ray, beside each other: minutes the first time"
	@$(MAKE) --no-print-directory $(TOGETHER) -j4 rust extras browser lint

# Large, and for tests alone: `make demo` does without.
extras: $(EXTRAS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ifeq ($(RUST),no)
rust:
	@echo "without the Rust agents: their tests are skipped, unless they are built already"
else
rust: $(READY)
	@$(CARGO) --version >/dev/null 2>&1 || { echo "needs cargo, for the Rust agents: install rustup" \
	    "(https://rustup.rs) or apt-get install cargo; make test RUST=no does without"; exit 1; }
	@$(CARGO) fmt --version >/dev/null 2>&1 && $(CARGO) clippy --version >/dev/null 2>&1 || \
	    { echo "needs rustfmt and clippy: rustup component add rustfmt clippy" \
	    "(Debian: apt-get install rustfmt rust-clippy); make test RUST=no does without"; exit 1; }
	cd $(RUST_DIR) && $(CARGO) fmt --check
	cd $(RUST_DIR) && $(CRATES) clippy --quiet --locked --workspace --all-targets -- -D warnings
	cd $(RUST_DIR) && $(CRATES) test --quiet --locked -p agent-core --lib --tests
	MAKEFLAGS= $(BIN)/harness agents build
endif

# For the tests of the HTML report; nothing is done where the machine has a Chromium.
browser: $(READY)
	@sh tests/browser/install.sh $(VENV)/chromium

bench: $(READY)
	$(BIN)/python benchmarks/framing.py
	$(BIN)/python benchmarks/kernels.py --quick
	$(BIN)/python benchmarks/reactor.py --quick
	$(BIN)/python benchmarks/reactor.py --accuracy
	$(BIN)/python benchmarks/tap.py --quick

peers: $(READY)
	$(BIN)/python -m benchmarks.peers $(PEERS)

fuzz: $(READY)
	$(BIN)/python tests/native/fuzz_framing.py --seconds 3600

sanitize: $(READY)
	sh tests/native/sanitize.sh address
	sh tests/native/sanitize.sh thread

valgrind: $(READY)
	sh tests/native/valgrind.sh

soak: $(READY)
	$(BIN)/python benchmarks/soak.py

native: $(READY)
	$(BIN)/python setup.py build_ext --inplace --force

$(READY): pyproject.toml setup.py $(NATIVE)
	@command -v $(PYTHON) >/dev/null || { echo "needs Python 3.11 or later (PYTHON=... names it)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "needs Python 3.11 or later; $(PYTHON) is older (PYTHON=... names another)"; exit 1; }
	@command -v cc >/dev/null || command -v gcc >/dev/null || \
	    { echo "needs a C compiler (Debian, Ubuntu: apt-get install build-essential)"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; \
	    sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || \
	    { echo "needs the headers of $(PYTHON) (Debian, Ubuntu: apt-get install python3-dev)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev --no-compile --editable '.[llamacpp,parquet]'
	@touch $(READY)

$(EXTRAS): $(READY)
	$(BIN)/python -m pip install --quiet --no-compile 'chimera-harness[hf,ray]'
	@touch $(EXTRAS)

clean:
	rm -rf $(VENV) build dist *.egg-info harness/_native/*.so .pytest_cache .mypy_cache .ruff_cache
