# Everything a developer types. Each target is a script in hack/ that can be run by hand as well.
.DEFAULT_GOAL := help
.PHONY: help up down test test-fast e2e lint docs format mutants kind-up images chart-lint
MAKEFLAGS += --no-print-directory

# settings of these targets, handed on to the scripts
export RUNTIME MARKET CANDLES SPEED CLUSTER NAMESPACE DB_PORT SANDBOX_PORT HTTP_PORT WORKER_PORT USE_CURRENT_CONTEXT ADOPT REGISTRY NODE_IMAGE BASE_IMAGE WORKERS MODULE SAMPLE SEED SURVIVORS LIST

help: ## this text
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo
	@echo "  RUNTIME=process       up: local processes, no cluster          MARKET=binance   up: Binance's public market data"
	@echo "  CANDLES=DIR SPEED=300 up: what the sandbox exchange plays      USE_CURRENT_CONTEXT=1 [REGISTRY=...]  up: not kind"
	@echo "  CLUSTER NAMESPACE DB_PORT SANDBOX_PORT HTTP_PORT WORKER_PORT   names and ports on 127.0.0.1, defaults in hack/common.sh"

up: ## a cluster with database, controller, sandbox exchange and sample bots that trade
	@hack/up.sh

down: ## end what make up began from this checkout, and say what it leaves
	@hack/down.sh

kind-up: ## a cluster only
	@hack/cluster.sh up

images: ## build the container images and say what they weigh
	@hack/images.sh build
	@hack/images.sh sizes

test: ## everything that CI runs: lint, unit, integration, e2e
	@hack/test.sh all

test-fast: ## lint of what is quick, and the unit tests, in about two minutes
	@hack/test.sh fast

e2e: ## the tests with real pods, on a cluster of their own
	@hack/test.sh e2e

mutants: ## small changes of the core modules that a unit test must notice: MODULE SAMPLE SEED SURVIVORS LIST WORKERS
	@hack/python.sh sync
	@.venv/bin/python hack/mutants.py $(if $(MODULE),--module $(MODULE)) $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(SURVIVORS),--survivors) $(if $(LIST),--list) $(if $(WORKERS),--workers $(WORKERS))

lint: ## ruff, mypy, import-linter, shellcheck, helm lint
	@hack/test.sh lint

docs: ## the reference pages in docs/ that are made from the code
	@hack/python.sh sync
	@.venv/bin/python -m cli.reference
	@.venv/bin/python -m controller.reasons_page > docs/reference/reasons.md

format: ## put the code into the one form
	@hack/python.sh sync
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .
