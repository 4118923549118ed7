#!/bin/sh
# Subscriptions when silos are killed and leave, and when a client vanishes. survive.sh GBRUN
set -u
gbrun=$1
here=$(cd "$(dirname "$0")" && pwd)
app=$here/between
. "$here/silos.sh"

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
