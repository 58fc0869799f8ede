# Everything a developer types. Each target is a script in hack/ that can be run by hand as well.
.DEFAULT_GOAL := help
.PHONY: help up down test test-fast e2e lint docs format mutants kind-up images chart-lint
MAKEFLAGS += --no-print-directory

# settings of these targets, handed on to the scripts
export RUNTIME MARKET CANDLES SPEED CLUSTER NAMESPACE DB_PORT SANDBOX_PORT HTTP_PORT WORKER_PORT USE_CURRENT_CONTEXT ADOPT REGISTRY NODE_IMAGE BASE_IMAGE WORKERS MODULE SAMPLE SEED SURVIVORS LIST

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo "  RUNTIME=process       up: local processes, no cluster          MARKET=binance   up: Binance's public market data"
	@echo "  CANDLES=DIR SPEED=300 up: what the sandbox exchange plays      USE_CURRENT_CONTEXT=1 [REGISTRY=...]  up: the cluster of kubectl"
	@echo "  CLUSTER NAMESPACE DB_PORT SANDBOX_PORT HTTP_PORT WORKER_PORT   names and ports on 127.0.0.1, defaults in hack/common.sh"

up: ## a cluster with database, controller, sandbox exchange and sample bots that trade
	@hack/up.sh

down: ## end what make up began from this checkout, and say what it leaves
	@hack/down.sh

kind-up: ## only the kind cluster
	@hack/cluster.sh up

images: ## build the container images and print their sizes
	@hack/images.sh build
	@hack/images.sh sizes

test: ## everything that CI runs: lint, unit, integration, e2e
	@hack/test.sh all

test-fast: ## ruff and most unit tests, in about two minutes
	@hack/test.sh fast

e2e: ## the tests with real pods, on a cluster of their own
	@hack/test.sh e2e

mutants: ## break core modules in small ways, and see which a unit test notices: MODULE SAMPLE SEED SURVIVORS LIST WORKERS
	@hack/python.sh sync
	@.venv/bin/python hack/mutants.py $(if $(MODULE),--module $(MODULE)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(SURVIVORS),--survivors) $(if $(LIST),--list) $(if $(WORKERS),--workers $(WORKERS))

lint: ## ruff, mypy, import-linter, shellcheck, helm lint, links of the docs
	@hack/test.sh lint

docs: ## the pages that are made from the code, and all pages as a site in site/
	@hack/python.sh sync
	@hack/docs.sh pages
	@hack/docs.sh build
	@echo "$(CURDIR)/site/index.html"

format: ## format the code, and mend what ruff can mend
	@hack/python.sh sync
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
