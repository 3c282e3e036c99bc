# `make` or `make help` lists the targets. CARGO_TARGET_DIR is honoured everywhere.

CARGO ?= cargo
WASM_TARGET := wasm32-wasip2
GUESTS := server client1 client2 client3 ambrosia-sim-guest debugged-guest shop
SECONDS ?= 60

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup build guests demo test vopr bugs torture fuzz bench bench-machines lint clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: ## provide the standard library of wasm32-wasip2 for this rustc
	scripts/setup-wasip2.sh

build: guests ## build the host program (ambrosia-host), the demo, the benchmarks and the guests
	$(CARGO) build --release -p ambrosia-cli -p ambrosia-tests --bins

guests: setup ## build the example and test guests as wasm components
	$(CARGO) build --release --target $(WASM_TARGET) $(addprefix -p ,$(GUESTS))
	$(CARGO) build --release --target $(WASM_TARGET) -p test-guests -p shop --examples

demo: build ## run the HelloWorld walkthrough
	scripts/demo.sh

test: build ## run all tests
	scripts/test.sh

vopr: ## hunt in simulated clusters for SECONDS (60), or run one SEED with its trace; WASM=model.wasm runs that beside, ENGINE=1 is about logs on an engine
	$(CARGO) run --quiet --profile vopr -p ambrosia-sim $(if $(WASM),--features wasm) --bin vopr -- \
		$(if $(SEED),$(SEED) --trace,--seconds $(SECONDS)) $(if $(WASM),--wasm $(WASM)) $(if $(ENGINE),--engine)

bugs: ## put deliberate bugs into a copy of the sources, and see that the simulator finds each
	$(CARGO) run --quiet --profile vopr -p ambrosia-sim --bin bugs

fuzz: ## fuzz each decoder, the member and the engine for SECONDS (60)
	scripts/fuzz.sh --seconds $(SECONDS)

bench: build ## run the benchmarks
	scripts/bench.sh

bench-machines: build ## measure machines that die and requests over a network: a database, three hosts, TLS (ARGS as for bench-machines --help)
	scripts/bench-machines.sh $(ARGS)

torture: build ## break processes, disks and networks under load (SECONDS=60, or ARGS as for torture --help)
	scripts/torture.sh --seconds $(SECONDS) $(ARGS)

lint: ## check the format, and clippy with warnings as errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

clean: ## remove what cargo built
	$(CARGO) clean
