# make help lists the targets. Every target but help and clean sets up .venv first, from
# constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FLINK := .flink
CONFIG ?=
WORKDIR ?= runs/$(or $(subst :,-,$(basename $(notdir $(CONFIG)))),flickr8k)
SPLIT ?= dev
DATA ?=
WEIGHTS ?=
ARGS ?=
RUNNER ?=
FLINK_MASTER ?=
BENCH ?= records
DEMO ?= runs/demo
PORT ?=
MODEL ?= $(WORKDIR)
IMAGES ?=
OUT ?= $(WORKDIR)/captions.jsonl
SYSTEM ?=

RUN = $(BIN)/imcap
# $(1) as one word for the shell: in single quotes, with each ' in it written as '\''.
quote = '$(subst ','\'',$(1))'
# --NAME=VALUE where VALUE is not empty.
flag = $(if $(2),--$(1)=$(call quote,$(2)))

DEMO_FLAGS = --config=shapes $(call flag,workdir,$(DEMO))
# Without CONFIG the run's own config.json is taken; a new run is configs/flickr8k.py's.
CONFIG_FLAG = $(or $(call flag,config,$(CONFIG)),$$(test -f $(call quote,$(WORKDIR)/config.json) || echo --config=flickr8k))
FLAGS = $(CONFIG_FLAG) $(call flag,workdir,$(WORKDIR)) $(call flag,config.dataset.dir,$(DATA)) \
	$(call flag,config.encoder.weights,$(WEIGHTS)) $(ARGS)

BEAM_FLAGS = $(call flag,runner,$(RUNNER)) $(call flag,flink_master,$(FLINK_MASTER))

.DEFAULT_GOAL := help
.PHONY: help setup demo system test fetch-flink test-flink wheel check-wheel lint records pretrain train eval export caption serve app bench clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'
	@echo "  Variables: CONFIG=NAME or FILE (default: the run's own) DATA=DIR WEIGHTS=FILE ARGS=FLAGS"
	@printf '             WORKDIR=%s SPLIT=%s PYTHON=%s\n' $(call quote,$(WORKDIR)) $(call quote,$(SPLIT)) $(call quote,$(PYTHON))

setup: $(VENV)/.ready ## Make .venv with the pinned packages

$(VENV)/.ready: setup.py constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and f"imcap needs Python 3.11 to 3.13, not {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: setup ## Draw shapes, learn to caption them, export, caption a few
	$(RUN) pretrain $(DEMO_FLAGS)
	$(RUN) records $(DEMO_FLAGS)
	$(RUN) train $(DEMO_FLAGS)
	$(RUN) eval $(DEMO_FLAGS) --split=dev
	$(RUN) eval $(DEMO_FLAGS) --split=test
	$(RUN) export $(DEMO_FLAGS)
	$(RUN) caption $(call flag,model,$(DEMO)) $(call quote,$(DEMO)/shapes/images/test-0000[0-5].jpg)
	@echo "dev: new scenes of known combinations; test: combinations never seen in training"
	$(RUN) scores $(call flag,workdir,$(DEMO))

system: CONFIG = systems/$(SYSTEM)
system: setup ## One of configs/systems from images to scores: SYSTEM=vgg16_flickr8k DATA=DIR WEIGHTS=FILE
	$(if $(SYSTEM),,$(error SYSTEM=NAME is missing: one of $(patsubst configs/systems/%.py,%,$(filter-out %/__init__.py,$(wildcard configs/systems/*.py)))))
	$(if $(filter custom_cnn_%,$(SYSTEM)),$(RUN) pretrain $(FLAGS))
	$(RUN) records $(BEAM_FLAGS) $(FLAGS)
	$(RUN) train $(FLAGS)
	$(RUN) eval $(FLAGS) --split=dev
	$(if $(filter custom_cnn_%,$(SYSTEM)),$(RUN) eval $(FLAGS) --split=holdout)
	$(RUN) export $(FLAGS)
	$(RUN) scores $(call flag,workdir,$(WORKDIR))

# Each of the two processes makes the models that its files share, and gets the files in the order
# of tests/support/longest_first.py.
test: setup ## Run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

fetch-flink: setup $(FLINK)/.ready ## Fetch what test-flink needs (600 MB)

test-flink: fetch-flink ## Run the records job on a Flink cluster made here, and kill a part of it
	$(BIN)/python -m pytest -m flink tests/flink $(ARGS)

# Flink from PyPI, and Beam's job server for it from Maven Central: 600 MB on disk.
$(FLINK)/.ready: tests/flink/pom.xml | $(VENV)/.ready
	@command -v java >/dev/null && command -v mvn >/dev/null || { echo "make test-flink needs java (17) and mvn in PATH" >&2; exit 1; }
	rm -rf $(FLINK)/dist
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(FLINK)/dist apache-flink-libraries==1.19.3
	mvn --quiet --batch-mode --file tests/flink/pom.xml -Dmaven.repo.local=$(abspath $(FLINK)/maven) -Dfolder=$(abspath $(FLINK)/job-server) package
	touch $@

# What an earlier build left would get into the wheel, or be a second one.
wheel: setup ## Build dist/imcap-VERSION-py3-none-any.whl
	rm -rf build/lib dist/imcap-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# In a folder without the packages' sources, so that the wheel is what Python imports.
check-wheel: wheel ## Install the wheel in an empty environment and caption an image with it
	rm -rf build/check && mkdir -p build/check && $(PYTHON) -m venv build/check/venv
	build/check/venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/imcap-*.whl
	cd build/check && export PATH=$$PWD/venv/bin:$$PATH && imcap --version && imcap --help >help.txt && \
	for step in pretrain records train export; do \
	  imcap $$step --config=shapes:tiny --workdir=run || exit 1; done && \
	imcap caption --model=run run/shapes/images/test-00000.jpg

lint: setup ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

records: setup ## Images and captions to TFRecords; RUNNER=flink FLINK_MASTER=HOST:PORT on a cluster
	$(RUN) records $(BEAM_FLAGS) $(FLAGS)

pretrain: setup ## Train imcap's own CNN on the captions' words
	$(RUN) pretrain $(FLAGS)

train: setup ## Train the decoder, or continue
	$(RUN) train $(FLAGS)

eval: setup ## Caption and score a split: SPLIT=dev
	$(RUN) eval $(FLAGS) $(call flag,split,$(SPLIT))

export: setup ## Write the SavedModel
	$(RUN) export $(FLAGS)

caption: setup ## Caption IMAGES=DIR into OUT=FILE: WORKDIR=DIR or MODEL=DIR; RUNNER=flink FLINK_MASTER=HOST:PORT
	$(RUN) caption $(call flag,model,$(MODEL)) $(if $(IMAGES),$(call quote,$(IMAGES))) $(call flag,out,$(OUT)) $(BEAM_FLAGS) $(ARGS)

serve: setup ## Serve the exported model: WORKDIR=DIR or MODEL=NAME=DIR, PORT=8501
	$(RUN) serve $(call flag,model,$(MODEL)) $(call flag,port,$(PORT)) $(ARGS)

app: setup ## Show a web page that captions images: WORKDIR=DIR or MODEL=NAME=DIR, PORT=8502
	$(RUN) app $(call flag,model,$(MODEL)) $(call flag,port,$(PORT)) $(ARGS)

bench: setup ## Measure: BENCH=records, scale, input, train, decode, caption or notebook, ARGS='--image_dir=DIR --out=FILE.json'
	$(RUN) bench $(BENCH) $(FLAGS)

clean: ## Remove .venv, builds and caches; runs/ stays
	rm -rf $(VENV) $(FLINK) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
