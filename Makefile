# What a newcomer types. Each target sets up what it needs: packages, then the build under build/.
#
#   make demo                   builds, then runs the main job: examples/pagerank.lua
#   make test                   every test, under the sanitizers too; ends with "N passed, N failed"
#   make build                  the release build: build/release/gbrun and libgpubridge
#   make bench                  every number we publish, and the machine's cores
#   make sim SEED=7 STEPS=100000 SILOS=50 HOURS=1    the simulated worlds, for longer; without
#                               SEED from a random one, which it prints
#   make chaos SECONDS=600 SEED=7 ENGINE=redis  real silos that are killed, frozen, drained; with
#                               NET=1 cut off from each other too, with TLS=1 over TLS
#   make huge MIB=1024          messages of so large a payload between real silos, every word looked
#                               at, small calls meanwhile; takes six times as much memory
#   make fuzz SECONDS=60        each fuzzer for so long
#   make device-pack            build/device-pack: a folder that tests and measures another machine
#   make device-pack-test       builds it, and runs a copy in a fresh folder
#   make walk                   every call of a software CUDA driver fails in turn
#   make packages               installs every package of packages.txt that is missing
#   make clean                  removes build/
#
# JOBS=N: how many compilers and tests at a time (default: one per core).
# GB_PACKAGES=skip make ...: for machines that have the packages from elsewhere.

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
STEPS ?= 100000
SILOS ?= 50
HOURS ?= 1
SECONDS ?= 60
ENGINE ?= sqlite
MIB ?= 1024

export GB_JOBS = $(JOBS)

.PHONY: help build demo test bench sim chaos huge fuzz walk packages clean device-pack device-pack-test
.NOTPARALLEL:

help:
	@sed -n 's/^#   //p' Makefile

build:
	@scripts/packages.sh build
	@scripts/build.sh release

demo: build
	@scripts/demo.sh

test:
	@scripts/packages.sh build test
	@scripts/test.sh

bench: build
	@scripts/bench.sh

sim:
	@scripts/packages.sh build test
	@scripts/sim.sh '$(SEED)' '$(STEPS)' '$(SILOS)' '$(HOURS)'

chaos:
	@scripts/packages.sh build test
	@scripts/build.sh dev
	build/dev/tests/chaos --wall=build/dev/tests/libwall.so $(if $(NET),--net) $(if $(TLS),--tls) '$(ENGINE)' build/dev/gbrun '$(SECONDS)' '$(or $(SEED),1)'

huge: build
	@sh tests/cluster/huge.sh build/release/gbrun '$(MIB)'

fuzz:
	@scripts/packages.sh build test
	@scripts/fuzz.sh '$(SECONDS)'

walk:
	@scripts/packages.sh build test
	@scripts/build.sh dev
	@ctest --test-dir build/dev -L walk --output-on-failure

device-pack:
	@scripts/packages.sh build test
	@scripts/device-pack.sh

device-pack-test:
	@scripts/packages.sh build test
	@scripts/device-pack-test.sh

packages:
	@scripts/packages.sh

clean:
	rm -rf build
