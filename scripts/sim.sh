#!/bin/sh
# sim.sh SEED STEPS SILOS HOURS: every simulator program, from one seed. The same seed replays a run;
# an empty one is random, and printed.
#   sim_grain    the room grain: STEPS steps
#   sim_cluster  a cluster of SILOS silos for HOURS simulated hours
set -eu
cd "$(dirname "$0")/.."
seed=$1 steps=$2 silos=$3 hours=$4
[ -n "$seed" ] || seed=0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
scripts/build.sh dev
code=0
echo "== sim_grain seed $seed steps $steps"
build/dev/tests/sim_grain "$seed" "$steps" </dev/null || code=1
echo "== sim_cluster seed $seed silos $silos hours $hours"
build/dev/tests/sim_cluster "$seed" "$silos" "$hours" </dev/null || code=1
exit "$code"
