#!/bin/sh
# sim.sh SEED STEPS: every simulator program (sim_*) of the dev build. The same seed replays a run.
set -eu
cd "$(dirname "$0")/.."
seed=$1 steps=$2
scripts/build.sh dev
found=no
for program in $(find build/dev -name 'sim_*' -type f -perm -u+x | sort); do
    found=yes
    echo "== $(basename "$program") seed $seed steps $steps"
    "$program" "$seed" "$steps" </dev/null
done
[ $found = yes ] || echo 'sim: there are no simulator programs in this version yet'
