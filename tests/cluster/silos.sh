# For scripts of tests with real silos over a table of sqlite, whose first argument is gbrun: sourced
# with $app, a folder beside them. A folder for the run is the working directory; all that was
# started ends with the script.
set -u
gbrun=$1
here=$(cd "$(dirname "$0")" && pwd)
app=$here/$app
work=$(mktemp -d "${TMPDIR:-/tmp}/gb-silos-$$-XXXXXX")
pids=
failed=0
unset GB_CONNECT GB_CLUSTER GB_WORKERS
end() {
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -KILL $pids 2>/dev/null
  wait
  rm -rf "$work"
}
trap end EXIT
cd "$work" || exit 1

# start NAME FLAG...: a silo of $app, also one that was started before; $address when it serves, and
# $pid.
start() {
  name=$1
  shift
  rm -f "$name.ready"
  mkfifo "$name.ready"
  "$gbrun" silo --cluster "sqlite:$work/c.db" --app "$app" --name "$name" "$@" \
    >"$name.ready" 2>>"$name.log" &
  pid=$!
  pids="$pids $pid"
  read -r word address <"$name.ready" || { cat "$name.log"; exit 1; }
  [ "$word" = ready ] || exit 1
}

# expect CODE PART COMMAND...: the exit code, and a part of what is printed anywhere. What it reads is
# no pipe: in one, a failure would not be counted.
expect() {
  code=$1
  part=$2
  shift 2
  timeout 600 "$gbrun" "$@" >out 2>err
  got=$?
  if [ $got -ne "$code" ] || ! cat out err | grep -qF -- "$part"; then
    failed=$((failed + 1))
    echo "FAILED: gbrun $*"
    echo "  code $got, expected $code; expected: $part"
    cat out err
  fi
}

# The end of a script: what a sanitizer has found in a silo counts too.
finish() {
  if grep -H "Sanitizer\|runtime error" ./*.log; then failed=$((failed + 1)); fi
  echo "$failed failed"
  exit $((failed > 0))
}
