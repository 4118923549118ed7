#!/bin/sh
# sim.sh SEED STEPS: every simulator program (sim_*), from one seed. The same seed replays a run.
set -eu
cd "$(dirname "$0")/.."
seed=$1 steps=$2
scripts/build.sh dev
code=0
for program in $(find build/dev/tests -maxdepth 1 -name 'sim_*' -type f -perm -u+x | sort); do
    echo "== $(basename "$program") seed $seed steps $steps"
    "$program" "$seed" "$steps" </dev/null || code=1
done
exit "$code"
