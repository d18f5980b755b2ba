# memory_ext: `make demo` shows it, `make test` proves it; both set up a bare Debian or Ubuntu first.
# PG_CONFIG=/path/to/pg_config chooses another PostgreSQL (15 to 18) for every target.
# Everything stands under target/; the machine's own PostgreSQL is touched by `make install` only.

ifneq ($(PG_CONFIG),)
export PG_CONFIG
endif
MAKEFLAGS += --no-print-directory

.PHONY: help setup build demo test soak lint install psql bench clean

help:     ## this list
	@sed -n 's/^\([a-z]*\): *[a-z ]*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "JOB=name,name make bench runs those sections alone; QUICK=1 one round over small data."
	@echo "PG_CONFIG=/path/to/pg_config chooses another PostgreSQL, 15 to 18."

setup:    ## install what is missing: compiler, libclang, PostgreSQL, pgvector, cargo-pgrx
	@scripts/setup

build: setup ## build the extension into the private copy of PostgreSQL
	@scripts/build

demo: build ## set up, build, and remember this machine on a private server
	@demo/run

test:     ## set up, build, and pass every test
	@scripts/test

soak:     ## kill, restore and fill for as long as it takes to be sure: at most 20 minutes, with figures
	@scripts/soak

lint: setup ## cargo fmt --check, cargo clippy -D warnings
	@scripts/lint

install: build ## install into the machine's PostgreSQL (or PG_CONFIG's)
	@scripts/install $(PG_CONFIG)

psql:     ## a shell on the demo's database
	@scripts/psql

bench: build ## measure against the rivals: one table of ratios, and target/bench.json
	@JOB='$(JOB)' QUICK='$(QUICK)' cargo run --quiet --release --package bench

clean:    ## stop the private servers and remove all that was built
	@scripts/clean
