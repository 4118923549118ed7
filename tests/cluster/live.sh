#!/bin/sh
# gbrun top and gbrun repl on a terminal, beside real silos. live.sh GBRUN TERMINAL
app=app
. "$(dirname "$0")/silos.sh"
terminal=$2
export XDG_STATE_HOME="$work/state" TERM=xterm

# on COLUMNS ROWS ARG...: gbrun on a terminal; what to type and to see is on standard input.
on() {
  columns=$1
  rows=$2
  shift 2
  timeout 600 "$terminal" "$columns" "$rows" "$gbrun" "$@" 2>err || {
    failed=$((failed + 1))
    echo "FAILED: gbrun $*"
    cat err
  }
}

start one --workers 2 --pretend-gpus --cpu-memory 512MB
one=$address one_pid=$pid
start two --workers 2
two=$address
"$gbrun" call --connect "$two" Any k add 1 >/dev/null || failed=$((failed + 1))

# ---- the prompt ----

on 80 24 repl <<'END'
see gpubridge, in a silo of its own.
see > 
type x = 20 + 1\r
see > 
type =x * 2\r
see \x0a42\r
see > 
type x  =\x7f= { a = x, "woX\e[D\e[3~\x02\x02t\x05" }\x01\x06\x08x\r
see > 
type =x\r
see { "two", a = 21 }
see > 
type for i = 1, 2 do\r
see >> 
type print("i is " .. i) end\r
see i is 2
see > 
type for\r
see >> 
type \x03
see ^C
see > 
type ="after" .. 1\r
see "after1"
see > 
type =print("go") or gb.sleep("1h")\r
see \x0ago\r
signal 2
see interrupted
see > 
type error("boom")\r
see boom
see > 
type =gb.nix\r
see unknown field of gb 'nix'
see > 
type \e[A\e[A\e[A\x15=gb.sleep("1ms"), "ä"\x17"öl"\r
see true\x09"öl"\r
see > 
type \x04
end 0
END
[ "$(stat -c %a "$XDG_STATE_HOME/gpubridge/repl_history")" = 600 ] || failed=$((failed + 1))
on 30 8 repl --connect "$two" <<'END'
see in the cluster gpubridge, by two
see > 
type \e[A\e[A\e[A\e[B
see gb.nix
see > 
type \x15=gb.get("Any", "k"):add(2)\r
see \x0a3\r
see > 
type =1 --[[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]] + 5\r
see 6
see > 
type os.exit(7)\r
end 7
END
history="$XDG_STATE_HOME/gpubridge/repl_history"
seq 2001 | sed 's/^/old = /' >>"$history"
on 80 24 repl <<'END'
see > 
type \e[A
see old = 2001
signal 15
end 143
END
[ "$(wc -l <"$history")" -eq 1000 ] && [ "$(tail -n 1 "$history")" = "old = 2001" ] &&
  [ "$(stat -c %a "$history")" = 600 ] && [ ! -e "$history.new" ] ||
  { failed=$((failed + 1)); echo "FAILED: a long history"; }
expect 0 '{ 1, array of 2: 0 0, b = "c" }' repl <<'END'
=1+1
for i = 1, 1 do
print("in")
end
x = { 1, b = "c", gb.array("float", 2) }
=x
END
grep -qx in out && grep -qx 2 out || { failed=$((failed + 1)); cat out; }
expect 1 "not today" repl <<'END'
gb.fail("MINE", "not today")
print("on")
END
! grep -q on out || failed=$((failed + 1))
echo 'for' >in
expect 1 "the last line is not whole" repl <in
expect 1 "the app folder none is not there" repl --app none </dev/null
echo '=gb.get("Any", 1):add(2)' >in
expect 0 2 repl --app "$app" <in
echo '=1' >in
expect 1 "ELOST: no connection to 127.0.0.1:1: Connection refused" repl --connect 127.0.0.1:1 <in

# ---- top ----

expect 0 "Any " top --once --every 100ms --connect "$two" </dev/null
grep -q '^one .*active' out && grep -q '^SILO  GPU ' out || { failed=$((failed + 1)); cat out; }
expect 1 "ELOST: no connection to 127.0.0.1:1: Connection refused" top --connect 127.0.0.1:1
expect 2 "gbrun top: --every takes a duration of 100ms or more, not '1ms'" top --every 1ms --connect "$two"
expect 2 "gbrun top: --connect HOST:PORT (or GB_CONNECT) names a silo" top
on 100 24 top --connect "$two,$one" --every 100ms <<END
see \\e[?1049h
see cluster gpubridge, as two sees it: healthy
see two   active
see q: end
size 70 12
see q: end
kill $one_pid
see one   dead
see not healthy: one is dead
type q
see \\e[?1049l
end 0
END
start one --workers 2
one=$address
on 100 24 top --connect "$one" --every 100ms <<END
see as one sees it
kill $pid
see no answer: 
see trying again
signal 15
see \\e[?25h\\e[?1049l
end 143
END
on 100 24 top --connect 127.0.0.1:1 <<'END'
see ELOST: no connection to 127.0.0.1:1: Connection refused
end 1
END

finish
