#!/bin/sh
# Three silos on this machine, one of which is killed, and a client: sh examples/cluster/run.sh
# GBRUN names the program, if it is not in PATH. The output is compared with client.lua's own.
set -u
here=$(cd "$(dirname "$0")" && pwd)
gbrun=${GBRUN:-gbrun}
work=$(mktemp -d)
pids=
end() {
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -TERM $pids 2>/dev/null
  wait
  rm -rf "$work"
}
trap end EXIT

# start NAME FLAG...: a silo; sets $address when it serves, and $pid. GPUs are pretended by devices
# of the CPU, so that the example runs anywhere.
start() {
  name=$1
  shift
  mkfifo "$work/$name"
  "$gbrun" silo --cluster "sqlite:$work/cluster.db" --app "$here/app" --name "$name" --workers 2 \
    --log error "$@" >"$work/$name" &
  pid=$!
  pids="$pids $pid"
  read -r word address <"$work/$name" || { echo "the silo $name did not start"; exit 1; }
  [ "$word" = ready ] || { echo "$name said $word"; exit 1; }
}

start cpu --label role=web
first=$address
start small --pretend-gpus --cpu-memory 512MB
second=$address
GB_CPU_DEVICES=2 start large --pretend-gpus --cpu-memory 1GB

"$gbrun" --connect "$first,$second" "$here/client.lua" "$pid" >"$work/out" 2>"$work/err" ||
  { cat "$work/out" "$work/err"; exit 1; }
cat "$work/out"
sed -n 's/^-- expect: //p' "$here/client.lua" >"$work/expected"
diff "$work/expected" "$work/out" >&2
