# Every target sets up what it needs: `make test` on a fresh machine is one command.
# It needs Python 3.11 or newer; PYTHON=/path/to/python3 chooses one.
PROTO ?= examples/shop/proto
OUT ?= examples/shop/gen
BROKER ?= sqlite
VENV ?= .venv
ARGS ?=

python := $(VENV)/bin/python
export VENV
# betterproto2's compiler looks for ruff, the tests for buf and protoc's plugins.
with_tools := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup demo gen test check chaos chaos-mutants brokers test-all bench build clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'

setup: ## the virtual environment, nothing else
	@tools/setup

demo: setup ## a shop of three services at work (BROKER=sqlite, kafka or amqp)
	@$(python) -m eventwire gen examples/shop/proto --out examples/shop/gen
	@PYTHONPATH=examples/shop/gen $(python) -m examples.shop.demo --broker "$(BROKER)" $(ARGS)

gen: setup ## Python from the .proto files of PROTO= into OUT=
	@$(with_tools) $(python) -m eventwire gen "$(PROTO)" --out "$(OUT)" $(ARGS)

test: setup ## unit, golden, typing, embedded and real-server tests, then the matrix (ARGS= goes to pytest)
	@$(with_tools) $(python) -m pytest $(ARGS)

check: setup ## ruff, mypy, pyright, buf lint, generated code current, import direction
	@$(with_tools) $(python) -m tools.check

chaos: setup ## the fault suite in its long form; writes docs/reliability.md (ARGS= goes to pytest: then it is not written)
	@$(with_tools) PYTHONPATH=examples/shop/gen $(python) -m tools.chaos bars $(ARGS)

chaos-mutants: setup ## sabotage: every bar must turn red when its mechanism is broken (ARGS=names of mutants)
	@$(with_tools) PYTHONPATH=examples/shop/gen $(python) -m tools.chaos mutants $(ARGS)

brokers: setup ## Kafka, RabbitMQ, PostgreSQL and Redis on free ports until Ctrl-C
	@$(python) -m tools.servers

test-all: setup ## `test`, then other Python versions, lowest and highest dependencies, the wheel and the sdist
	@$(python) -m tools.test_all $(ARGS)

bench: setup ## publish and consume against the raw clients
	@PYTHONPATH=examples/shop/gen $(python) -m benchmarks $(ARGS)

build: setup ## wheel and sdist into dist/
	@$(python) -m hatchling build

clean: ## everything that a target made
	rm -rf $(VENV) .venv-* build dist .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
