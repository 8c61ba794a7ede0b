# The commands of this project. `make` without a target lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run setup setup-tests build console test fmt lint check-manifests test-scripts audit openapi evaluate quantize fuzz chaos python-models typescript-types test-document test-compose lint-workflows dist sbom images sign-images clean-data cargo-is-here
# One recipe at a time, in the order given: set-up before build, build before tests.
.NOTPARALLEL:

TARGET := $(or $(CARGO_TARGET_DIR),target)
# Extra arguments for the commands of `run`, `test`, `audit`, `evaluate` and `test-compose`.
ARGS ?=

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup cargo-is-here ## Set up, build in release mode and start everything (ARGS="--port 8000")
	@echo "Building in release mode (the first time takes a few minutes) …"
	@cargo build --release --locked -p spotter
	@scripts/install-models $(TARGET)/release/spotter
	@exec $(TARGET)/release/spotter up $(ARGS)

setup: ## Install and download what is missing
	@scripts/setup

setup-tests:
	@scripts/setup --tests

build: cargo-is-here ## Build everything in debug mode
	@cargo build --workspace --locked

console: setup-tests ## Build the console, which the API contains (needs Node)
	@cd services/console && npm run build

test: setup-tests lint check-manifests test-scripts ## Set up, check the format, lint, and run all tests (ARGS="-p domain")
	@# Binaries and tests in one build: the tests turn failpoints on, and separate builds would compile half of it twice.
	@cargo build --workspace --bins --tests --locked
	@scripts/install-models $(TARGET)/debug/spotter
	@if cargo nextest --version >/dev/null 2>&1; then \
		exec cargo nextest run --workspace --locked $(ARGS); \
	else \
		exec cargo test --workspace --locked $(ARGS); \
	fi

fmt: cargo-is-here ## Format the code
	@cargo fmt --all

lint: cargo-is-here ## Check the format and the imports between files, run ruff and mypy, and clippy with warnings denied
	@cargo fmt --all --check
	@scripts/check-imports
	@scripts/lint-scripts
	@scripts/python-client check || test $$? -eq 77
	@cargo clippy --workspace --all-targets --locked -- -D warnings

check-manifests: ## Render and check the Kubernetes manifests in k8s/ and the NATS configuration
	@scripts/check-manifests

test-scripts: ## Run the unit tests of the scripts
	@python3 -m unittest discover --start-directory scripts/tests --top-level-directory scripts --quiet

audit: cargo-is-here ## Check licences, advisories and allowed dependencies, with cargo-deny
	@if cargo deny --version >/dev/null 2>&1; then \
		exec cargo deny --locked check $(ARGS); \
	else \
		echo "make audit needs cargo-deny: cargo install --locked cargo-deny" >&2; exit 1; \
	fi

lint-workflows: ## Check .github/workflows with zizmor
	@scripts/lint-workflows

openapi: cargo-is-here ## Regenerate openapi.json from the code
	@cargo run -q --locked -p spotter -- openapi > openapi.json.new && mv openapi.json.new openapi.json \
		|| { rm -f openapi.json.new; exit 1; }

python-models: ## Regenerate the modules of the Python client that follow from openapi.json and docs/errors.md
	@scripts/python-client generate

typescript-types: setup-tests ## Regenerate the modules of the TypeScript client that follow from openapi.json and docs/errors.md (needs Node)
	@cd libs/client-typescript && npm run generate

evaluate: setup cargo-is-here ## Measure mAP over a COCO-format folder (COCO=path/to/folder)
	@test -n "$(COCO)" || { echo "make evaluate needs COCO=FOLDER, with images/ and instances.json in it" >&2; exit 1; }
	@cargo build --release --locked -p spotter
	@scripts/install-models $(TARGET)/release/spotter
	@scripts/evaluate-coco --spotter $(TARGET)/release/spotter $(ARGS) "$(COCO)"

# Calibration pictures, from which the ranges of values are taken; better some of your own.
PICTURES ?= test_images

quantize: setup cargo-is-here ## Create and install yolov8n-int8, the default model quantized to 8 bits (PICTURES=path/to/folder)
	@cargo build --release --locked -p spotter
	@scripts/quantize-model .cache/weights/yolov8n.onnx .cache/weights/yolov8n-int8.onnx --pictures "$(PICTURES)" $(ARGS)
	@$(TARGET)/release/spotter model add .cache/weights/yolov8n-int8.onnx --license AGPL-3.0 --replace

test-document: setup cargo-is-here ## Test the API against openapi.json with Schemathesis (ARGS="--examples 200 --seed 2")
	@cargo build --locked --workspace --bins
	@scripts/install-models $(TARGET)/debug/spotter
	@scripts/test-document --spotter $(TARGET)/debug/spotter $(ARGS)

# How long each fuzz target runs.
FUZZ_SECONDS ?= 600
# With overflow checks; several codegen units halve the build time.
FUZZ_BUILD := -a --codegen-units 16
# All inputs are small, so ten seconds for one input is a hang.
FUZZ_LIMITS := -timeout=10 -max_len=65536 -rss_limit_mb=3072

fuzz: cargo-is-here ## Run all fuzz targets, or some (FUZZ_SECONDS=600 FUZZ_TARGETS="header decode")
	@command -v cargo-fuzz >/dev/null || { \
		echo "make fuzz needs cargo-fuzz and a C++ compiler: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@# Sanitizers are unstable options of the compiler; RUSTC_BOOTSTRAP makes a stable compiler accept them.
	@# New inputs go to the first folder, fuzz/found/; the seeds in the second are not changed.
	@set -e; export RUSTC_BOOTSTRAP=1; cargo fuzz build $(FUZZ_BUILD); \
	for target in $(or $(FUZZ_TARGETS),$$(cargo fuzz list)); do \
		echo "== $$target, $(FUZZ_SECONDS) s"; mkdir -p fuzz/found/$$target; \
		cargo fuzz run $(FUZZ_BUILD) $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 $(FUZZ_LIMITS); \
	done

# Duration of each of the two mixed runs, on one node and on a cluster, and number of jobs of the soak test.
CHAOS_SECONDS ?= 600
CHAOS_SOAK_JOBS ?= 50000

chaos: setup cargo-is-here ## Inject faults under load and check that no job is lost (CHAOS_SECONDS=600 CHAOS_SEED=7)
	@cargo build --locked -p spotter --bins --tests
	@scripts/install-models $(TARGET)/debug/spotter
	@# One test at a time, so that each has the machine to itself, with output shown for their tables.
	@CHAOS_SECONDS=$(CHAOS_SECONDS) CHAOS_SOAK_JOBS=$(CHAOS_SOAK_JOBS) exec cargo test --locked -p spotter --test chaos -- \
		--test-threads=1 --nocapture $(ARGS)

# Target platform of `dist` and `sbom`, such as aarch64-unknown-linux-gnu. Not set: this machine's.
export DIST_TARGET

dist: cargo-is-here ## Build the release binaries and pack them with their licences into dist/
	@scripts/release/make-dist

sbom: cargo-is-here ## Write the SBOM of the binaries, as CycloneDX JSON, into dist/
	@if cargo cyclonedx --version >/dev/null 2>&1; then \
		exec scripts/release/make-sbom; \
	else \
		echo "make sbom needs cargo-cyclonedx: cargo install --locked cargo-cyclonedx" >&2; exit 1; \
	fi

images: ## Build the images for IMAGE_PLATFORM and push them to IMAGE_REGISTRY (used by the release workflow)
	@scripts/release/publish-images build

sign-images: ## Tag the pushed images with IMAGE_TAG, and sign them with cosign
	@scripts/release/publish-images sign

test-compose: ## Build the images, run docker-compose.yml on a real engine and inject faults (ARGS=--stand-ins)
	@scripts/test-compose $(ARGS)

clean-data: ## Delete the data of `make run`: queue, results, cache and logs
	rm -rf data

cargo-is-here:
	@command -v cargo >/dev/null || { \
		echo "cargo is not on PATH. Install Rust 1.95 or newer (https://rustup.rs), or add ~/.cargo/bin to PATH." >&2; exit 1; }
