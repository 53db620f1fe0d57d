# `make run` and `make test` are all that is needed; both set up what is missing first.
# Works with GNU make 3.81, which macOS has.

.PHONY: help run test drills bench lint lock clean

help:
	@echo "make run     set up and start everything; Ctrl-C ends it"
	@echo "make test    set up and run every test (ARGS='-k words' picks some)"
	@echo "make bench   measure this beside what people use today (ARGS=--quick, --growth, --distance)"
	@echo "make drills  break everything on purpose, for many rounds (ROUNDS=20 DRILLS=1,4)"
	@echo "make lint    ruff, mypy and the import contracts"
	@echo "make lock    lock the dependencies again after a change in pyproject.toml"
	@echo "             (ARGS=--upgrade: the newest versions of all)"
	@echo "make clean   remove what the others made; var/, the data, stays"

run:
	@scripts/bootstrap run
	@exec .venv/bin/notifier run

test:
	@scripts/system-packages
	@scripts/bootstrap test
	@scripts/test $(ARGS)

drills:
	@scripts/system-packages
	@scripts/bootstrap test
	PYTHONPATH=tests .venv/bin/python -m drills --rounds $(or $(ROUNDS),20) --drills "$(DRILLS)" $(ARGS)

bench:
	@scripts/system-packages bench
	@scripts/bootstrap test
	.venv/bin/python -m bench $(ARGS)

lint:
	@scripts/bootstrap test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

lock:
	@scripts/lock $(ARGS)

clean:
	rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis \
		bench/build bench/node_modules
	find notifier worker web tests bench -name __pycache__ -prune -exec rm -rf {} +
