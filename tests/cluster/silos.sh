# For scripts of tests with real silos over a table of sqlite: sourced with $gbrun and $here set. A
# folder for the run, which is the working directory; all that was started ends with the script.
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

# start NAME FLAG...: a silo of $app; $address when it serves, and $pid.
start() {
  name=$1
  shift
  mkfifo "$name.ready"
  "$gbrun" silo --cluster "sqlite:$work/c.db" --app "$app" --name "$name" "$@" \
    >"$name.ready" 2>"$name.log" &
  pid=$!
  pids="$pids $pid"
  read -r word address <"$name.ready" || { cat "$name.log"; exit 1; }
  [ "$word" = ready ] || exit 1
}

# expect CODE PART COMMAND...: the exit code, and a part of what is printed anywhere.
expect() {
  code=$1
  part=$2
  shift 2
  timeout 120 "$gbrun" "$@" >out 2>err
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
  exit $failed
}
