#!/bin/sh
# Subscriptions when silos are killed and leave, and when a client vanishes. survive.sh GBRUN
app=between
. "$(dirname "$0")/silos.sh"

start a --workers 2 --label zone=a
a=$address a_pid=$pid
start b --workers 2 --label zone=b
b=$address
start c --workers 2 --label zone=c
c_pid=$pid
"$gbrun" --connect "$b" "$here/lost.lua" &
pids="$pids $!"
expect 0 ok --connect "$a,$b" "$here/survive.lua" "$a_pid" "$c_pid" $!
finish
