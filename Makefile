# The commands of this project. `make` alone lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run setup build test fmt lint check-manifests test-scripts audit openapi evaluate quantize fuzz chaos test-compose lint-workflows dist sbom images sign-images clean-data cargo-is-here
# One recipe at a time, in the order given: set-up before build, build before tests.
.NOTPARALLEL:

TARGET := $(or $(CARGO_TARGET_DIR),target)
# What is passed on to the command of `run`, `test`, `audit`, `evaluate` and `test-compose`.
ARGS ?=

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup cargo-is-here ## Set up, build in release mode and start everything (ARGS="--port 8000")
	@echo "Building in release mode (the first time takes a few minutes) …"
	@cargo build --release --locked -p spotter
	@scripts/install-models $(TARGET)/release/spotter
	@exec $(TARGET)/release/spotter up $(ARGS)

setup: ## Install and fetch what is missing; downloads nothing twice
	@scripts/setup

build: cargo-is-here ## Build everything in debug mode
	@cargo build --workspace --locked

test: setup lint check-manifests test-scripts ## Set up, check the format, lint, and run all tests (ARGS="-p domain")
	@# With the tests, which turn failpoints on: built without them first, half would be built twice.
	@cargo build --workspace --bins --tests --locked
	@scripts/install-models $(TARGET)/debug/spotter
	@if cargo nextest --version >/dev/null 2>&1; then \
		exec cargo nextest run --workspace --locked $(ARGS); \
	else \
		exec cargo test --workspace --locked $(ARGS); \
	fi

fmt: cargo-is-here ## Format the code
	@cargo fmt --all

lint: cargo-is-here ## Check the format and run clippy, warnings denied
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings

check-manifests: ## Render and check the Kubernetes manifests in k8s/, and the configuration of NATS
	@scripts/check-manifests

test-scripts: ## Test what the scripts go by
	@python3 -m unittest discover --start-directory scripts --quiet

audit: cargo-is-here ## Check licences, advisories and who may depend on whom, by cargo-deny
	@if cargo deny --version >/dev/null 2>&1; then \
		exec cargo deny --locked check $(ARGS); \
	else \
		echo "make audit needs cargo-deny: cargo install --locked cargo-deny" >&2; exit 1; \
	fi

lint-workflows: ## Check .github/workflows, by zizmor
	@scripts/lint-workflows

openapi: cargo-is-here ## Write openapi.json anew from the code
	@cargo run -q --locked -p spotter -- openapi > openapi.json.new && mv openapi.json.new openapi.json \
		|| { rm -f openapi.json.new; exit 1; }

evaluate: setup cargo-is-here ## Measure mAP over a COCO-format folder (COCO=path/to/folder)
	@test -n "$(COCO)" || { echo "make evaluate needs COCO=FOLDER, with images/ and instances.json in it" >&2; exit 1; }
	@cargo build --release --locked -p spotter
	@scripts/install-models $(TARGET)/release/spotter
	@scripts/evaluate-coco --spotter $(TARGET)/release/spotter $(ARGS) "$(COCO)"

# Pictures that show which values occur; better a hundred of one's own.
PICTURES ?= test_images

quantize: setup cargo-is-here ## Make and install yolov8n-int8, the default model in 8 bits (PICTURES=path/to/folder)
	@cargo build --release --locked -p spotter
	@scripts/quantize-model .cache/weights/yolov8n.onnx .cache/weights/yolov8n-int8.onnx --pictures "$(PICTURES)" $(ARGS)
	@$(TARGET)/release/spotter model add .cache/weights/yolov8n-int8.onnx --license AGPL-3.0 --replace

# Each target of fuzz/ runs this long.
FUZZ_SECONDS ?= 600
# With overflow checks; in several units, which halves the time of a build.
FUZZ_BUILD := -a --codegen-units 16
# Every picture and model that a target sees is small, so ten seconds over one is a hang.
FUZZ_LIMITS := -timeout=10 -max_len=65536 -rss_limit_mb=3072

fuzz: cargo-is-here ## Run every fuzz target, or some (FUZZ_SECONDS=600 FUZZ_TARGETS="header decode")
	@command -v cargo-fuzz >/dev/null || { \
		echo "make fuzz needs cargo-fuzz and a C++ compiler: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@# Sanitizers are unstable options of the compiler; RUSTC_BOOTSTRAP lets a stable one take them.
	@# New inputs go to the first folder, fuzz/found/; the seeds in the second stay as they are.
	@set -e; export RUSTC_BOOTSTRAP=1; cargo fuzz build $(FUZZ_BUILD); \
	for target in $(or $(FUZZ_TARGETS),$$(cargo fuzz list)); do \
		echo "== $$target, $(FUZZ_SECONDS) s"; mkdir -p fuzz/found/$$target; \
		cargo fuzz run $(FUZZ_BUILD) $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(FUZZ_LIMITS); \
	done

# How long each of the two mixed runs takes, on one node and on a cluster, and how many jobs the soak.
CHAOS_SECONDS ?= 600
CHAOS_SOAK_JOBS ?= 50000

chaos: setup cargo-is-here ## Break everything under load and check that nothing is lost (CHAOS_SECONDS=600 CHAOS_SEED=7)
	@cargo build --locked -p spotter --bins --tests
	@scripts/install-models $(TARGET)/debug/spotter
	@# In a line, so that each has the machine to itself, and with their tables shown.
	@CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_SOAK_JOBS=$(CHAOS_SOAK_JOBS) exec cargo test --locked -p spotter --test chaos -- \
		--test-threads=1 --nocapture $(ARGS)

# The platform that `dist` and `sbom` are for, such as aarch64-unknown-linux-gnu. Left out: this one.
export DIST_TARGET

dist: cargo-is-here ## Build the release binaries and pack them with their licences, into dist/
	@scripts/make-dist

sbom: cargo-is-here ## List what the binaries are made of, as CycloneDX JSON, into dist/
	@if cargo cyclonedx --version >/dev/null 2>&1; then \
		exec scripts/make-sbom; \
	else \
		echo "make sbom needs cargo-cyclonedx: cargo install --locked cargo-cyclonedx" >&2; exit 1; \
	fi

images: ## Build the images for IMAGE_PLATFORM and push them under IMAGE_REGISTRY (the release workflow does)
	@scripts/publish-images build

sign-images: ## Name what was pushed IMAGE_TAG, and sign it with cosign
	@scripts/publish-images sign

test-compose: ## Build the images, run docker-compose.yml on a real engine and break it (ARGS=--stand-ins)
	@scripts/test-compose $(ARGS)

clean-data: ## Delete what `make run` has stored: queue, results, cache and logs
	rm -rf data

cargo-is-here:
	@command -v cargo >/dev/null || { \
		echo "cargo is not on PATH. Install Rust 1.95 or newer (https://rustup.rs), or add ~/.cargo/bin to PATH." >&2; exit 1; }
