# make demo    set up, then lint, plan and compile recipe A
# make test    set up, then everything fast: types, style, unit, snapshot, property, real-tool and packaging tests
# make e2e     set up, then the real engine, Ray and routers
# make check   types and style alone
# make bench   what a start costs beside a bare interpreter, and many specs
# make mutations  10,000 seeded mistakes in every spec; NUMBER=… for fewer (more than an hour)
# make fuzz    coverage-guided fuzzing by atheris: FUZZ_SECONDS=600 of each of four drives
# make update  rewrite the snapshots (read each before you commit it)
# make gen     rewrite the generated pages and the editors' grammar
.PHONY: demo test e2e check bench mutations fuzz update gen
.DEFAULT_GOAL := test
BIN := .venv/bin
# A folder of each run's own: pytest keeps the three newest of a shared one, and would clear this run's away under another's.
PYTEST = temp=$$(mktemp -d) && trap 'rm -rf "$$temp"' EXIT && PYTEST_DEBUG_TEMPROOT="$$temp" $(BIN)/python -m pytest

demo:
	@.ci/setup run
	@$(BIN)/kcluster lint specs/recipe-a.kcluster
	@$(BIN)/kcluster plan specs/recipe-a.kcluster
	@$(BIN)/kcluster compile specs/recipe-a.kcluster -o out/recipe-a 2>/dev/null
	@find out/recipe-a -type f | sort

check:
	@.ci/setup test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	$(PYTEST) -m "not e2e" -n 2 --dist worksteal

e2e:
	@.ci/setup e2e
	@# Real servers on a busy machine: what fails is tried twice more by itself, and what fails three times has failed.
	export KCLUSTER_E2E_BIN=$(CURDIR)/.venv-e2e/bin KCLUSTER_RAY_BIN=$(CURDIR)/.venv-e2e/bin/ray && \
	again='-m e2e --last-failed --last-failed-no-failures none tests/e2e' && \
	{ ($(PYTEST) -m e2e tests/e2e) || ($(PYTEST) $$again) || ($(PYTEST) $$again); }

mutations:
	@.ci/setup test
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.mutations $(NUMBER)

FUZZ_SECONDS ?= 600
fuzz:
	[ -x .venv-fuzz/bin/python ] || $${PYTHON:-python3} -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement requirements-fuzz.lock
	for drive in language lint command config; do \
	  PYTHONPATH=compiler:$(CURDIR) .venv-fuzz/bin/python -m tests.fuzz $$drive --seconds $(FUZZ_SECONDS) || exit 1; \
	done

bench:
	@.ci/setup test
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.startup
	PYTHONPATH=$(CURDIR) $(BIN)/python -m benchmarks.throughput

update:
	export KCLUSTER_UPDATE_README=1 && $(PYTEST) -m "not e2e" -n 2 --snapshot-update

gen:
	$(BIN)/python -m kcluster.rules.pages docs/rules
	$(BIN)/python -m kcluster.editor.highlighting editors/vscode/syntaxes/kcluster.tmLanguage.json
	$(BIN)/python -m kcluster.editor.reference docs/language.md
	$(BIN)/python -m kcluster.cli.completing
