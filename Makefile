# Everything a person does with Perch, one verb each. `make help` lists them.

# The first interpreter that answers: a name on the PATH may be a shim that runs nothing.
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& $$p -c 'import sys; print(sys.executable)' && break; done)
UV := $(shell command -v uv || echo .tools/bin/uv)
RUN := .venv/bin

export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
export UV_PROJECT_ENVIRONMENT := .venv
export BENTOML_DO_NOT_TRACK := true
export DO_NOT_TRACK := 1

# Tests start real processes, which on a shared machine can lose a race for a port or the processor. What failed is run
# once more, by itself; only what fails again fails the target. Both runs are shown.
pytest = $(RUN)/pytest -q $(1) $(2) || $(RUN)/pytest -q --last-failed --last-failed-no-failures none $(2)

.DEFAULT_GOAL := help
.PHONY: help install demo train canary market loadtest break up down status test test-live test-cluster lint types layers format bench-collector bench-decisions bench-drift bench-engine bench-freshness bench-imbalance bench-operator bench-training images cluster-up cluster-down doctor footprint render lock clean

help:  ## List the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*##' '{printf "  \033[36m%-16s\033[0m%s\n", $$1, $$2}'

install: .venv/.installed  ## Install everything into .venv

.venv/.installed: uv.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "perch: no Python 3.11, 3.12 or 3.13 answers on the PATH. Install one, then try again."; exit 1; }
	@command -v $(UV) >/dev/null || { echo "installing uv into .tools"; $(PYTHON) -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --target .tools --upgrade uv \
		|| { echo "perch: uv could not be had with pip. Install pip (Debian: apt install python3-pip) or uv, then try again."; exit 1; }; }
	$(UV) sync --frozen --quiet
	@touch $@

demo: install  ## See a good model promoted and bad ones come home, on this machine, in about four minutes
	$(RUN)/perch demo

# Where a service runs: on this machine, or on the cluster that CONTEXT names.
ON := $(if $(CONTEXT),--context '$(CONTEXT)') $(if $(NAMESPACE),--namespace '$(NAMESPACE)') $(if $(FILE),--file '$(FILE)')

train: install  ## Train a baseline and a challenger on a simulated market (CONTEXT=name NAMESPACE=name: for that cluster)
	$(RUN)/perch train $(ON)

canary: install  ## Release a version and watch it (VERSION=2)
	$(RUN)/perch rollout start $(ON) $(if $(VERSION),--version '$(VERSION)')
	$(RUN)/perch status --watch $(ON)

market: install  ## Send the traffic of the simulated market for five minutes
	$(RUN)/perch market $(ON)

loadtest: install  ## Prove the declared SLO under the declared load
	$(RUN)/perch loadtest $(ON)

break: install  ## Break the canary on purpose (FAULT=errors, latency, constant, skew, silence, or none; VERSION=1: that version)
	$(RUN)/perch break '$(or $(FAULT),errors)' $(ON) $(if $(VERSION),--version '$(VERSION)')

up: install  ## Start the local platform
	$(RUN)/perch up

down: install  ## Stop the local platform and everything it started
	$(RUN)/perch down

status: install  ## Say where the service and its rollout stand
	$(RUN)/perch status $(ON)

test: lint types layers  ## Style, types, layers, and 4,600 tests (eight minutes)
	$(call pytest,-n 2 --dist worksteal,-m "not e2e and not cluster")

test-live: install  ## Whole platforms under traffic, and the demonstration (a quarter of an hour)
	$(call pytest,-n 2 --dist loadfile,-m e2e --ignore tests/e2e/test_demo.py)
	$(call pytest,,-m e2e tests/e2e/test_demo.py)

test-cluster: install  ## The tests that need a cluster: PERCH_TEST_KUBECONFIG names it
	$(RUN)/pytest -q -m cluster tests/cluster

lint: install  ## Check style and format
	$(RUN)/ruff check --quiet
	$(RUN)/ruff format --check --quiet

types: install  ## Check types
	$(RUN)/mypy

layers: install  ## Check that imports point down to the core
	$(RUN)/lint-imports

format: install  ## Format the code
	$(RUN)/ruff check --fix --quiet
	$(RUN)/ruff format --quiet

bench-collector: install  ## Measure how many events a second the collector takes, into SQLite and PostgreSQL (two minutes; QUICK=1: half a minute)
	$(RUN)/python -m benchmarks.collector

bench-decisions: install  ## Compare rollout rules on simulated traffic (half an hour; QUICK=1: two minutes)
	$(RUN)/python -m benchmarks.decisions

bench-drift: install  ## Measure what finding drift costs, beside Evidently, what it finds, and its false alarms (half an hour; QUICK=1: three minutes)
	$(RUN)/python -m benchmarks.drift

bench-engine: install  ## Measure how many ticks the engine decides in a second
	$(RUN)/python -m benchmarks.engine_speed

bench-freshness: install  ## Compare when to train in a simulated market that drifts (half an hour; QUICK=1: two minutes)
	$(RUN)/python -m benchmarks.freshness

bench-imbalance: install  ## Compare what can be done about rare clicks (ten minutes; QUICK=1: one)
	$(RUN)/python -m benchmarks.imbalance

bench-operator: install  ## Measure what 200 services cost the operator, on the cluster of KUBECONFIG
	$(RUN)/python -m benchmarks.operator_load

bench-training: install  ## Measure training beside LightGBM alone, and in a tenth of its log's memory (an hour; QUICK=1: ten minutes)
	$(RUN)/python -m benchmarks.training

include versions.env
DOCKER ?= docker
REGISTRY ?=
PLATFORM ?=
BUILD_FLAGS ?=
TAG := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' pyproject.toml)

images: image-serving image-operator image-mlflow image-training  ## Build the images (REGISTRY=ghcr.io/you PLATFORM=linux/arm64 DOCKER=podman)

image-%:
	$(DOCKER) build $(if $(PLATFORM),--platform $(PLATFORM)) $(BUILD_FLAGS) \
		--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE) --build-arg UV_VERSION=$(UV_VERSION) \
		--file images/$*/Dockerfile --tag $(if $(REGISTRY),$(REGISTRY)/)perch-$*:$(TAG) .

# CLUSTER=existing means a cluster that is there: CONTEXT names it, or else you are asked about the current one.
cluster = $(if $(CONTEXT),--context '$(CONTEXT)',$(if $(filter existing,$(CLUSTER)),--existing)) \
	$(if $(NAMESPACE),--namespace '$(NAMESPACE)') $(if $(YES),--yes)

cluster-up: install  ## Make a kind cluster with Perch in it (CLUSTER=existing CONTEXT=name: only Perch; YES=1 SET='key=value')
	$(RUN)/perch cluster up $(cluster) $(if $(SET),--set '$(SET)')

cluster-down: install  ## Delete the kind cluster (CLUSTER=existing CONTEXT=name: take Perch out)
	$(RUN)/perch cluster down $(cluster)

doctor: install  ## Say what a kind cluster, or the cluster CONTEXT=name, lacks, and how to mend it
	$(RUN)/perch doctor $(if $(CONTEXT),--context '$(CONTEXT)')

footprint: install  ## Measure what a cluster with Perch in it takes (CONTEXT=name NAMESPACE=perch)
	@$(RUN)/perch cluster footprint $(if $(CONTEXT),--context '$(CONTEXT)') $(if $(NAMESPACE),--namespace '$(NAMESPACE)')

HELM ?= helm
MANIFESTS ?= manifests
rendered = $(HELM) template perch charts/perch --namespace perch --kube-version $(KUBERNETES_VERSION) --no-hooks

render: install  ## Write the workflows into the chart, and the chart's objects into manifests/, for kustomize
	$(RUN)/python -m perch.workflows.render charts/perch/files/workflows
	$(RUN)/python -m dashboards charts/perch/files/dashboards
	$(HELM) show crds charts/perch > $(MANIFESTS)/base/crds.yaml
	$(rendered) --set networkPolicies.enabled=false > $(MANIFESTS)/base/perch.yaml
	$(rendered) --show-only templates/network-policies.yaml > $(MANIFESTS)/components/network-policies/perch.yaml
	$(rendered) --show-only templates/services-namespaces.yaml --set 'operator.watch={services}' \
		> $(MANIFESTS)/services-namespace/perch.yaml
	$(rendered) --show-only templates/training.yaml --set 'operator.watch={services},training.enabled=true' \
		--set networkPolicies.enabled=false > $(MANIFESTS)/training/perch.yaml
	$(rendered) --show-only templates/training-policies.yaml --set 'operator.watch={services},training.enabled=true' \
		> $(MANIFESTS)/components/training-policies/perch.yaml
	$(rendered) --show-only templates/monitoring.yaml --set monitoring.podMonitors=true,monitoring.rules=true \
		--set monitoring.routes=true,monitoring.dashboards=true,monitoring.labels.release=kube-prometheus-stack \
		> $(MANIFESTS)/components/kube-prometheus-stack/perch.yaml

lock:  ## Renew uv.lock
	$(UV) lock

clean: down  ## Remove what was built and run, but for the environment
	rm -rf .perch runs .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
