# Goodsight from a clone. Needs Python 3.11, git and make; everything else goes into .venv, once.
#
#   make run      train, judge, register and deploy a model on the furniture sample: ARGS="--catalogue FOLDER"
#   make test     all tests: ARGS="tests/serving -k drain"
#   make check    ruff and mypy
#   make images   the container images: k8s/README.md
#   make lock     resolve requirements.lock anew from pyproject.toml
#   make clean    remove .venv and caches; what runs made (.goodsight) stays

VENV := .venv
BIN := $(VENV)/bin
IS_311 := -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'
PYTHON ?= $(firstword $(foreach name,python3.11 python3,$(shell $(name) $(IS_311) 2>/dev/null && echo $(name))))

# A stamp names what it was installed from, so that a changed pyproject.toml or lock installs and nothing else does.
KEY := $(shell cat pyproject.toml requirements.lock | git hash-object --stdin | cut -c 1-12)
INSTALLED := $(VENV)/.installed-$(KEY)
INSTALLED_DEV := $(VENV)/.installed-dev-$(KEY)

# -qq: errors alone. --no-compile: the first import compiles what is used, a small part of what is installed; so that it is
# kept, PYTHONDONTWRITEBYTECODE must not be set.
# Packages are built with the locked setuptools: a build of its own would fetch an unpinned one.
INSTALL := $(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --constraint requirements.lock

export PYTHONDONTWRITEBYTECODE :=

define install
	@echo "Installing $(1) as requirements.lock pins it into $(VENV): minutes, and only this once."
	@rm -f $(VENV)/.installed-*
	@$(INSTALL) setuptools wheel
	@$(INSTALL) --no-build-isolation --editable '$(1)'
	@$(BIN)/python -m pip check
endef

# One `name==version` a line: without local versions (+cpu), which exist on no other machine.
define LOCK
import json, re, sys
found = [item["metadata"] for item in json.load(sys.stdin)["install"]]
pins = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"].partition("+")[0] for each in found}
print("\n".join(sorted(f"{name}=={version}" for name, version in pins.items() if name != "goodsight")))
endef
export LOCK

.PHONY: help run test check images lock clean

help:
	@sed -n 's/^#   //p' Makefile

run: $(INSTALLED)
	@$(BIN)/goodsight run $(ARGS)

test: $(INSTALLED_DEV)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/mypy

images: | $(BIN)/pip
	@k8s/images/build

lock: | $(BIN)/pip
	@echo "Resolving pyproject.toml: minutes."
	@$(BIN)/python -m pip install -qq --dry-run --ignore-installed --report $(VENV)/resolved.json setuptools wheel '.[dev]'
	@$(BIN)/python -c "$$LOCK" < $(VENV)/resolved.json > $(VENV)/requirements.lock
	@mv $(VENV)/requirements.lock requirements.lock
	@git --no-pager diff --stat requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage goodsight-*.yaml
	find . -name __pycache__ -not -path './.goodsight/*' -prune -exec rm -rf {} +

$(INSTALLED): | $(BIN)/pip
	$(call install,.)
	@touch $@

$(INSTALLED_DEV): | $(BIN)/pip
	$(call install,.[dev])
	@touch $(INSTALLED) $@

$(BIN)/pip:
	@$(or $(PYTHON),false) $(IS_311) 2>/dev/null || { echo "error: Goodsight needs Python 3.11, found $(or $(PYTHON),none)." \
		"Install it (Debian: python3.11 and python3.11-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
