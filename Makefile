# make demo       the whole loop on the embedded MiniScenes: data, detector, attributes, generator, scores
# make test       every test
# make test-studio  the tests of the studio's page in a browser: adds requirements/studio.txt, needs Chromium
#                 (apt-get install chromium, or CHROMIUM=/path/to/it)
# make test-matrix  the tests of models, generation, engine and set-up on the lowest and the newest versions of
#                 requirements/runtime.txt, on every Python that is found; its record is benchmarks/results/version_matrix.json
# make studio     a page to draw layouts on: the generator and detector of `make demo`, or the zoo's model before it
# make demo-full  the demo with everything trained from nothing (hours on two cores)
# make docs       the documentation as a site in site/ (half a minute; its own environment, .venv-docs)
#
# Each builds its environment first where it is missing or older than its lock. Nothing is compiled.
# PYTHON=/path/to/python chooses the interpreter (3.10 to 3.13); ARGS="..." is passed on.

SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && { echo $$p; break; }; done)

VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
LOCK := requirements/lock.txt
DOCS_VENV := .venv-docs
DOCS_LOCK := requirements/docs.txt
DOCS_STAMP := $(DOCS_VENV)/.ready-$(shell cksum < $(DOCS_LOCK) | cut -d' ' -f1)
STAMP := $(VENV)/.ready-$(shell cat $(LOCK) setup.py | cksum | cut -d' ' -f1)

.PHONY: demo demo-full docs studio test test-studio test-matrix setup

demo: $(STAMP)
	@$(VENV)/bin/python tools/quickstart.py $(ARGS)

demo-full: $(STAMP)
	@$(VENV)/bin/python tools/quickstart.py --full $(ARGS)

DEMO := work_dirs/demo
DEMO_MODEL := $(DEMO)/generator/iter_400.pth
SCENES := $(if $(wildcard $(DEMO_MODEL)),$(DEMO)/data,work_dirs/studio_data)
STUDIO := $(if $(wildcard $(DEMO_MODEL)),configs/detdiffusion_miniscenes.py $(DEMO_MODEL) \
	--detector configs/detectors/atss_miniscenes.py $(DEMO)/detector/iter_450.pth \
	--attributes $(DEMO)/attributes/val.json,configs/geodiffusion_miniscenes.py none)

studio: $(STAMP)
	@test -f $(SCENES)/val/stuff.json || \
		$(VENV)/bin/python tools/dataset_converters/miniscenes.py --out $(SCENES) --counts val=40
	@$(VENV)/bin/python tools/studio.py $(STUDIO) --ann $(SCENES)/val/instances.json --ann $(SCENES)/val/stuff.json $(ARGS)

test: $(STAMP)
	@echo "== ruff"
	@$(VENV)/bin/ruff check -q .
	@echo "== pytest"
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-studio: $(STAMP)
	@$(PIP) install -qq --no-deps -r requirements/studio.txt
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -rs tests/test_studio $(ARGS)

test-matrix: $(STAMP)
	@$(VENV)/bin/python benchmarks/version_matrix.py --json benchmarks/results/version_matrix.json $(ARGS)

docs: $(DOCS_STAMP)
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict $(ARGS)
	@echo "site/index.html; with search: $(DOCS_VENV)/bin/python -m http.server --bind 127.0.0.1 -d site"

setup: $(STAMP)

define CHECK_PYTHON
@$(or $(PYTHON),false) -c '$(SUPPORTED)' || { echo "error: '$(PYTHON)' is no Python 3.10 to 3.13;" \
	"name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 2; }
endef

$(STAMP):
	$(CHECK_PYTHON)
	@echo "== set-up 1/4: virtual environment in $(VENV) ($$($(PYTHON) --version))"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "== set-up 2/4: PyTorch and its libraries (2 GB to download, 1 to 4 minutes)"
	@$(PIP) install -qq $$(grep -E '^(torch|torchvision)==' $(LOCK)) -c $(LOCK)
	@echo "== set-up 3/4: the packages of $(LOCK) (about a minute)"
	@if $(PIP) show -qq opencv-python-headless 2>/dev/null; then \
		$(PIP) uninstall -qq -y opencv-python-headless opencv-python; fi
	@$(PIP) install -qq --no-deps -r $(LOCK)
	@echo "== set-up 4/4: detdiffusion itself, editable"
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.ready-*
	@touch $@

$(DOCS_STAMP):
	$(CHECK_PYTHON)
	@echo "== set-up: virtual environment in $(DOCS_VENV) with the packages of $(DOCS_LOCK) (half a minute)"
	@test -x $(DOCS_VENV)/bin/python || $(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check install -qq --no-deps -r $(DOCS_LOCK)
	@rm -f $(DOCS_VENV)/.ready-*
	@touch $@
