# install  the environment in .venv, with the tested versions
# install-test  the same with what tests, lint and docs need; these install it themselves
# demo     everything, from rendered clips to a trained model and a page to listen to
# studio   the drawing studio, with a clip of the demo where it was made
# test     the test suite
# lint     the formatter, the linter and the type checker, which change nothing
# docs     README, the pages of docs/ and the reference of the code as HTML, in build/docs
# mutations  about a hundred faults, each put into a copy of the code, and whether the tests notice
# check-demo  whether the README's sounds are what they say: thing, peak, level, curve (minutes)
# check-small  a small demo, trained in minutes, and the same check with bounds that it reaches
# dev      Dagster's page on the data of the profile
# bench    the figures of docs/results.md, each measured again beside its baseline
# librosa  what librosa compiles in a new environment, which would else be done in the middle of something
# clean    what the above made, except data
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:

BIN := .venv/bin
DAGSTER := $(BIN)/dagster
STAMP := .venv/.installed
TEST_STAMP := .venv/.installed-test

export DAGSTER_HOME ?= $(CURDIR)/dagster_home
export DAGSTER_MODULE_NAME := pipelines
export PYTHONWARNINGS := ignore
# Compiling torch and transformers again in every process would cost half a minute each.
unexport PYTHONDONTWRITEBYTECODE
# Nothing here looks for updates or sends statistics.
export YOLO_OFFLINE := true
export YOLO_AUTOINSTALL := false

# uv resolves, downloads and unpacks with all cores, a quarter of pip's time. It knows nothing of pip's settings and is told the
# index; where something else is needed to get the packages, it stops and pip does the same. Its files are linked, not copied.
INSTALL_BY_UV = $(BIN)/pip install -q --no-compile -c constraints.txt --target .venv/uv uv >.venv/install.log 2>&1 \
  && index=$$($(BIN)/pip config list 2>/dev/null | sed -n "s/^[^ ]*\.index-url='\(.*\)'/\1/p" | tail -n 1) \
  && env UV_CACHE_DIR=.venv/uv/cache $${index:+"UV_DEFAULT_INDEX=$$index"} \
    .venv/uv/bin/uv pip install --python $(BIN)/python -c constraints.txt -e '.$(EXTRA)' 2>&1 \
    | tee -a .venv/install.log | sed -un 's/^\(Resolved\|Prepared\|Installed\)/  &/p'

INSTALL_BY_PIP = $(BIN)/pip install --no-compile -c constraints.txt -e '.$(EXTRA)' 2>&1 | tee -a .venv/install.log | awk ' \
  /^ *Collecting/ { if (++n % 25 == 0) { print "  " n " packages found"; fflush() } } \
  /^ *Downloading/ { if (++d % 25 == 0) { print "  " d " packages downloaded"; fflush() } } \
  /^Installing collected/ { print "  unpacking"; fflush() } \
  /^(ERROR|error)/ { print }'

.PHONY: install install-test librosa demo studio test lint docs mutations check-demo check-small dev bench clean

install: $(STAMP)
install-test: $(TEST_STAMP)

$(TEST_STAMP): EXTRA := [test]
$(STAMP) $(TEST_STAMP): pyproject.toml constraints.txt
	@python=$$(for name in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  $$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$name && break; \
	done) || { echo "Python 3.11, 3.12 or 3.13 is needed and was not found; install one, or: make install PYTHON=<path>"; exit 1; }; \
	[ -x $(BIN)/pip ] || $$python -m venv .venv || { echo "could not make .venv; Debian has it in python3-venv"; exit 1; }
	@echo "installing about $$(wc -l < constraints.txt) packages into .venv (a few GB; log in .venv/install.log)"
	@$(INSTALL_BY_UV) || { echo "  not by uv (see .venv/install.log), by pip:"; $(INSTALL_BY_PIP); } \
	  || { tail -n 20 .venv/install.log; exit 1; }
	@rm -rf .venv/uv
	@touch $(STAMP) $@

# Dagster tells every event by default; a person wants a line a shard, the bars and the losses.
CALM := --config-json '{"loggers": {"console": {"config": {"log_level": "INFO"}}}}'

LIBROSA_CALLS := import librosa, numpy; \
  sound = librosa.griffinlim(numpy.random.rand(513, 32).astype("float32"), n_iter=1); \
  librosa.onset.onset_detect(y=numpy.tile(sound, 4), sr=16000); \
  librosa.feature.rms(y=sound)

# librosa compiles functions at their first call, once in an environment: half a minute on one core.
COMPILE_LIBROSA = nice -n 19 $(BIN)/python -c '$(LIBROSA_CALLS)' </dev/null >/dev/null 2>&1 || true

librosa: install
	@$(COMPILE_LIBROSA)

demo: export HF_HUB_OFFLINE := 1
# Most backbones learn as fast with one core: those that need not wait for one another are trained at the same time.
demo: export DRAWAUDIO_STEPS_AT_ONCE ?= 2
demo: install
# While the other core is idle.
	@($(COMPILE_LIBROSA)) &
	$(DAGSTER) asset materialize -m pipelines --select '*train_model' --partition-range "$$($(BIN)/python -m pipelines range)" $(CALM)
	$(DAGSTER) asset materialize -m pipelines --select 'dataset_card,evaluation_report' $(CALM)
	@$(BIN)/python -m pipelines layout

# The clip of the README's examples; without it the page asks for a video.
DEMO_CLIP := data/demo/clip.mp4
$(DEMO_CLIP): data/demo/raw_clips/test-000000.tar
	tar -xOf $< demo900002_000000.mp4 > $@

studio: export HF_HUB_OFFLINE := 1
studio: install $(if $(wildcard data/demo/raw_clips/test-000000.tar),$(DEMO_CLIP))
	$(BIN)/drawaudio studio $(filter $(DEMO_CLIP),$^)

test: export HF_HUB_OFFLINE := 1
# Small tensors: a second thread costs more than it gives.
test: export OMP_NUM_THREADS := 1
test: install-test
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: install-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: export HF_HUB_OFFLINE := 1
docs: install-test
	$(BIN)/python docs/site/build.py

mutations: export HF_HUB_OFFLINE := 1
mutations: install-test
	@failed=0; for part in 1 2 3 4 5 6; do $(BIN)/python -m tests.mutations --part $$part/6 || failed=1; done; exit $$failed

check-demo: export HF_HUB_OFFLINE := 1
check-demo: install
	$(BIN)/python benchmarks/check_demo.py

# Data of its own; what is there and up to date is not made again. The bounds are what a fifth of the demo's training reaches.
check-small: export DRAWAUDIO_PROFILE := small
check-small: export HF_HUB_OFFLINE := 1
check-small: install
	$(DAGSTER) asset materialize -m pipelines --select '*train_model' --partition-range "$$($(BIN)/python -m pipelines range)" $(CALM)
	$(BIN)/python benchmarks/check_demo.py --data data/small --seeds 2 --right 0.5 --correlation 0.75 --level-db 4

# Told twice where the code is, by the option and by the variable, the page's server ends and Dagster waits for it.
dev: install
	env -u DAGSTER_MODULE_NAME $(DAGSTER) dev -m pipelines $(DEV_ARGS)

bench: install-test
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache
	find dagster_home -mindepth 1 -maxdepth 1 ! -name 'dagster*.yaml' -exec rm -rf {} +
