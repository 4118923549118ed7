#!/bin/sh
# Three real silos over a table of sqlite: where grains go, gb.capacity, the commands that operate
# silos, and what is said when something is wrong. operate.sh GBRUN
app=app
. "$(dirname "$0")/silos.sh"

start cpu --workers 2 --label zone=west
cpu=$address cpu_pid=$pid
start one --workers 2 --pretend-gpus --cpu-memory 512MB
one=$address one_pid=$pid
GB_CPU_DEVICES=2 GB_TENANTS=acme=1GB start two --workers 2 --pretend-gpus --cpu-memory 1GB --label rack=2,zone=east
two=$address two_pid=$pid

expect 0 ok --connect "$cpu" "$here/placement.lua" cpu
expect 0 ok --connect "$one" "$here/placement.lua" one
expect 0 ok --connect "$two" "$here/placement.lua" two
expect 0 healthy status --connect "$cpu" --check
mkdir empty
start bare --workers 2 --app empty # it chooses no silo for types that it does not have, but asks who has them
for key in a b c d e f; do expect 0 '"two"' call --connect "$address" East "$key" where; done
kill -TERM "$pid"
wait "$pid" || { echo "FAILED: the end of bare"; failed=$((failed + 1)); }
expect 0 "one is drained" drain one --connect "$cpu" --wait
expect 0 draining status --connect "$cpu"
expect 0 "one is drained" drain one --connect "$two"
expect 0 "one is active" undrain one --connect "$cpu"
expect 0 "one is active" undrain one --connect "$one"
expect 0 healthy status --connect "$one" --check
expect 0 '"one"' call --connect "$one" Local again where
expect 0 "one is drained" drain one --connect "$one" --wait
kill -TERM "$one_pid"
wait "$one_pid" || { echo "FAILED: a silo that was drained before"; failed=$((failed + 1)); }
# Who leaves in order takes its capacity along: at once, for all others.
expect 0 "told no capacity" --connect "$cpu" "$here/gone.lua" one
expect 0 "told no capacity" --connect "$two" "$here/gone.lua" one
expect 0 healthy status --connect "$cpu" --check # who left in order ails nobody
expect 0 '"state":"left"' status --connect "$cpu" --json
expect 1 "ENOENT: the silo 'one' is dead or has left; there are: " drain one --connect "$cpu"
expect 1 "ENOENT: no silo has the name 'tow'" drain tow --connect "$cpu"

# call
export GB_CONNECT="$two"
expect 0 5 call Any k add 5
expect 0 3 call Any k add -2
expect 0 '[1,{"a":[1,2]}]' call Any k two
expect 0 '[{"a":[1,2.5,"é",true]},"plain text",9007199254740991]' \
  call Any k echo '{"a":[1,2.5,"\u00e9",true]}' 'plain text' 9007199254740991
expect 0 '"{not json"' call Any k echo '{not json'
expect 1 "MINE: not today" call Any k fail
expect 1 "ENOTYPE: unknown grain type 'Anny'; did you mean 'Any'?" call Anny k add 1
expect 1 "ENOMETHOD: Any: unknown method 'ad'; did you mean 'add'?" call Any k ad 1
expect 1 "ENOMETHOD: Any:_gb_deliver is private" call Any k _gb_deliver
expect 1 "EINVAL: --timeout must be a number" call --timeout soon Any k add 1
expect 2 "usage: gbrun call --connect" call Any k
expect 1 "ENOTYPE: gb.get takes a grain type, and none can be called" call '$worker0' 0 memory

# status, grains, devices
expect 0 '"name":"two"' status --json
expect 0 "rack=2,zone=east" status
expect 0 '"labels":{"rack":"2","zone":"east"}' status --json
expect 0 '"labels":{},"name":"one"' status --json
expect 0 '"types":[' status --json
expect 0 '"peers":[]' devices --json
expect 0 "East" grains --type East
expect 1 "ENOTYPE: unknown grain type 'Est'; did you mean 'East'?" grains --type Est
expect 1 "ENOTYPE: unknown grain type 'Est'; did you mean 'East'?" grains --type Est --sort calls
expect 1 "ENOENT: unknown silo 'tow'; did you mean 'two'?" grains --silo tow
expect 0 '"silo":"two"' grains --json --silo two
expect 0 '"silo":"two"' devices --json
expect 0 "cpu" devices
expect 0 "two   acme        0 B  1.00 GB" devices

# what grains do: one waits for another, which waits; a second call waits in the queue
holds=
for n in 1 2; do
  "$gbrun" call --timeout 1000 Any holder hold held "$work/go" >hold.$n 2>&1 &
  pids="$pids $!" holds="$holds $!"
done
tries=0
until "$gbrun" inspect Any holder 2>&1 | grep -q "waits in the queue" || [ $tries -eq 600 ]; do
  tries=$((tries + 1))
done
for GB_CONNECT in "$cpu" "$two"; do
  expect 0 "waits for Any/held:hold; " inspect Any holder
done
expect 0 "queue     1 of 1024" inspect Any holder
expect 0 ", from Any/holder: waits for time, a device or a file" inspect Any held
expect 0 '"state":"active"' inspect Any k --json
expect 0 '"tenant":"acme"' inspect Any k --json
expect 0 ' on devices, as tenant acme' inspect Any k
expect 0 "calls     7 so far; p99 " inspect Any k
expect 1 "ENOENT: Any/nobody is active on no silo" inspect Any nobody
expect 1 "ENOTYPE: unknown grain type 'Anny'; did you mean 'Any'?" inspect Anny k
expect 0 "Any/holder" grains --sort queue
[ "$(wc -l <out)" -eq 2 ] || { failed=$((failed + 1)); cat out; } # the one with a queue, and the head
expect 0 "Any/k " grains --sort p99 --type Any
expect 0 '"bytes":' grains --sort bytes --limit 2 --json
[ "$(grep -o '"silo"' out | wc -l)" -eq 2 ] || { failed=$((failed + 1)); cat out; }
expect 0 "Any/k " grains --sort calls --limit 1 --type Any
expect 1 "EINVAL: unknown order 'cals'; did you mean 'calls'?" grains --sort cals
expect 1 "EINVAL: --limit is a whole number from 1 to 1000, not '0'" grains --sort calls --limit 0
: >go
for n in $holds; do
  wait "$n" || { echo "FAILED: a call that held a grain: $?"; failed=$((failed + 1)); cat hold.*; }
done

# a silo that is killed
kill -KILL "$two_pid"
export GB_CONNECT="$cpu"
tries=0
until timeout 600 "$gbrun" status 2>&1 | grep -q '^two  *dead' || [ $tries -eq 600 ]; do
  tries=$((tries + 1))
done
expect 1 " is dead" status --check
expect 1 "ENOENT: no silo with 'East' has the label 'zone=east'" call East new where
expect 1 "ENOGPU" call Big new where
unset GB_CONNECT

# what is wrong
expect 2 "gbrun status: --connect HOST:PORT (or GB_CONNECT)" status
expect 1 "ELOST: no connection to $two: Connection refused" status --connect "$two"
expect 1 "EDENIED" call --connect "$cpu" --cluster-name other Any k add 1
grep -q "this is the cluster 'gpubridge', not 'other' (cluster_name)" err || failed=$((failed + 1))
expect 1 "'nonsense' is no address" status --connect nonsense
db="sqlite:$work/c.db"
expect 1 "begins with sqlit" silo --cluster "sqlit:x"
expect 1 "has no scheme" silo --cluster x
expect 1 "in time: the cluster's table sqlite:/none/x: unable to open" \
  silo --cluster sqlite:/none/x --wait 5s
[ "$(grep -c 'unable to open' err)" -eq 2 ] || { failed=$((failed + 1)); cat err; }
expect 1 "in time: the cluster's table redis://127.0.0.1:1" \
  silo --cluster redis://127.0.0.1:1 --wait 5s
expect 1 "is not the loopback: without TLS" silo --cluster "$db" --listen 0.0.0.0:0
expect 1 "is no address" silo --cluster "$db" --listen nonsense
expect 1 "$cpu" silo --cluster "$db" --listen "$cpu"
expect 1 "broken.lua:1: this app is broken" silo --cluster "$db" --app "$here/broken"
expect 1 "the app folder none is not there" silo --cluster "$db" --app none
expect 1 "the name of a silo is of letters" silo --cluster "$db" --name "a b"
expect 1 "labels are name=value" silo --cluster "$db" --label zone

# Who comes over another address than the loopback calls grains, and operates nothing.
other=$(hostname -I 2>/dev/null | tr ' ' '\n' | grep -m 1 -F .)
if [ -n "$other" ]; then
  start open --workers 2 --listen "$other:0" --cluster-open
  expect 0 1 call --connect "$address" Local k add 1
  for look in status grains "top --once" "inspect Local k"; do
    # shellcheck disable=SC2086
    expect 1 "EDENIED: silos are operated by clients on their own machine alone" \
      $look --connect "$address"
  done
  echo '=gb.get("Local", "k"):add(1)' >in
  expect 0 2 repl --connect "$address" <in
fi

# A silo of the same name is this one's next life: the old one leaves.
start cpu2 --workers 2 --name cpu
wait "$cpu_pid"
[ $? -eq 1 ] || { echo "FAILED: the old silo's exit code"; failed=$((failed + 1)); }
grep -q "has the name 'cpu'" cpu.log || { failed=$((failed + 1)); cat cpu.log; }

# Who is frozen is named, by who asks it.
kill -STOP "$pid"
expect 1 "ELOST: no answer from $address in time" status --connect "$address"
kill -CONT "$pid"

kill -TERM "$pid"
wait "$pid" || { echo "FAILED: a drained silo's exit code"; cat cpu2.log; failed=$((failed + 1)); }
finish
