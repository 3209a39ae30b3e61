# `make help` lists what can be done.
SHELL := /bin/bash
.DEFAULT_GOAL := help

CARGO ?= cargo
# The JPEG-LS codec is C++ and is built with cmake; without one, a wheel brings it.
CMAKE := $(if $(shell command -v cmake),,.tools/cmake/bin/cmake)
export PATH := $(PATH):$(CURDIR)/.tools/cmake/bin
# The pinned tool that checks licences and sources; built once into .tools.
DENY := .tools/bin/cargo-deny
DENY_VERSION := 0.20.2
# A peer of the benches.
DICOM_RS := .tools/bin/dicom-storescp
DICOM_RS_VERSION := 0.10.1

.PHONY: help demo test check bench faults runtime orthanc peers models-report models-test

help: ## lists the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'

demo: runtime $(CMAKE) $(if $(filter orthanc,$(PACS)),orthanc) ## builds, starts and shows everything on a synthetic study; PACS=orthanc adds a real PACS
	$(CARGO) build --release --locked
	target/release/overread demo $(if $(PACS),--pacs $(PACS))

test: runtime peers $(CMAKE) ## installs what the tests need, then runs all of them
	$(CARGO) test --workspace --locked

check: $(DENY) $(CMAKE) ## formatting, lints, documentation, licences: warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(DENY) --log-level error check bans licenses sources

bench: runtime peers $(CMAKE) $(DICOM_RS) .tools/predict/.requirements ## measures us beside the peers, in one run on this machine
	$(CARGO) build --release --locked --workspace --bins --examples
	OVERREAD_JOBS=10000 $(CARGO) test --release --locked --package ledger --test it -- --nocapture --test-threads 1 four_workers
	.venv/bin/python benches/start.py
	.venv/bin/python benches/store.py --listen target/release/examples/listen
	.venv/bin/python benches/seg_write.py
	.venv/bin/python benches/e2e.py
	.venv/bin/python benches/ct.py
	.tools/predict/bin/python benches/predict.py
	python3 -m venv .tools/bench && .tools/bench/bin/pip install --quiet --requirement benches/requirements.txt
	.venv/bin/python benches/sliding.py
	.venv/bin/python benches/load_series.py
	.venv/bin/python benches/tabular.py

faults: runtime peers $(CMAKE) ## the kill and soak runs of `make test`, at full length
	$(CARGO) build --workspace --locked --examples
	OVERREAD_FAULT_RUNS=200 OVERREAD_FUZZ_SECONDS=600 OVERREAD_SOAK_SECONDS=60 OVERREAD_LONG_MEGABYTES=2048 \
		$(CARGO) test --workspace --locked --test it -- --show-output faults:: abuse::
	OVERREAD_KILLS=200 $(CARGO) test --workspace --locked --test kill --test crash
	OVERREAD_KILLS=300 $(CARGO) test --workspace --locked --test e2e -- --nocapture faults

models-test: ## the tests of the converters and phantoms, with PyTorch and XGBoost (several GB)
	python3 -m venv .tools/models-test
	.tools/models-test/bin/pip install --quiet --requirement models/requirements.txt
	cd models && ../.tools/models-test/bin/python -W ignore -m unittest discover tests

models-report: ## measures every shipped model on held-out phantoms, into its card
	python3 -m venv .tools/models
	grep -vE '^(torch|xgboost)' models/requirements.txt | .tools/models/bin/pip install --quiet --requirement /dev/stdin
	cd models/scripts && ../../.tools/models/bin/python -W ignore report.py

runtime: ## fetches ONNX Runtime once (pinned, checked), unless you name your own
	@scripts/fetch-onnxruntime

orthanc:
	@scripts/install-orthanc

peers: ## installs the programs that the tests run against
	@scripts/install-peers

$(DENY):
	$(CARGO) install --quiet cargo-deny --version $(DENY_VERSION) --locked --debug --root .tools

$(DICOM_RS):
	$(CARGO) install --quiet dicom-storescp --version $(DICOM_RS_VERSION) --locked --root .tools

# The services that predictions are measured beside, and the load generator.
.tools/predict/.requirements: benches/predict/requirements.txt
	@command -v wrk >/dev/null || { echo "error: the bench needs wrk: apt-get install wrk" >&2; exit 1; }
	python3 -m venv .tools/predict
	.tools/predict/bin/pip install --quiet --disable-pip-version-check --requirement $<
	cp $< $@

.tools/cmake/bin/cmake:
	python3 -m venv .tools/cmake
	.tools/cmake/bin/pip install --quiet --disable-pip-version-check cmake==3.31.6
