# The two commands of the README are `make run` and `make test`; `make help` lists the rest.
SHELL := /bin/bash
PRESET ?= release
# Links and compiles beyond the cores only make a small machine swap.
JOBS ?= $(shell nproc)

.PHONY: help setup build run stop test soak bench bench-vgpu bench-vgpu-cost portable lint clean

help:
	@echo "make run     install what is missing, build, serve a real model on this machine, ask it a question"
	@echo "make test    build and run the tests (unit, property, scenario, sanitizers, end to end)"
	@echo "make stop    stop what make run started"
	@echo "make build   build/release/tweendeck and its libraries (PRESET=asan|tsan|gcc for other builds)"
	@echo "make setup   install what is missing from Debian's packages and PyPI"
	@echo "make soak    the long sizes of the tests and fuzzers"
	@echo "make portable  one archive with tweendeck and what it loads, for other glibc machines"
	@echo "make bench   the benchmarks; records go to bench/results/"
	@echo "make bench-vgpu  only how exactly shares of GPU time hold: all cells of the matrix"
	@echo "make bench-vgpu-cost  only what the vgpu library adds per call"
	@echo "make lint    clang-format and clang-tidy"

setup:
	@scripts/setup

build: setup
	@scripts/build $(PRESET) $(JOBS)

run: build
	@scripts/demo

stop:
	@build/release/tweendeck down

test: build
	@scripts/setup --tests
	@scripts/run-tests

soak: build
	@scripts/setup --tests
	@scripts/run-tests --soak

bench: build
	@bench/run

bench-vgpu: build
	@bench/vgpu/run --record bench/results/vgpu.md

bench-vgpu-cost: build
	@bench/vgpu/cost/run --record bench/results/vgpu-cost.md

portable: build
	@scripts/portable

lint:
	@scripts/lint

clean:
	rm -rf build
