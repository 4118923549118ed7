#!/bin/sh
# Real silos and clients that have to prove who they are: the cluster's key, tokens and their roles,
# with TLS and without. identity.sh GBRUN
app=app
. "$(dirname "$0")/silos.sh"
unset GB_TOKENS GB_TOKEN_FILE GB_CLUSTER_KEY GB_CLUSTER_KEY_FILE

bad() {
  failed=$((failed + 1))
  echo "FAILED: $*"
}

# logged FILE PART: a line of that log.
logged() {
  grep -qF -- "$2" "$1" || { bad "$1 has no line with: $2"; cat "$1"; }
}

# eventually CODE PART COMMAND...: the same, within many tries.
eventually() {
  code=$1
  part=$2
  shift 2
  tries=0
  while :; do
    timeout 600 "$gbrun" "$@" >out 2>err
    [ $? -ne "$code" ] || ! cat out err | grep -qF -- "$part" || return
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { bad "never: gbrun $*: $part"; cat out err; return; }
  done
}

# ---- tokens ----

expect 0 "ann.token: for the client" token ann --tokens tokens
expect 0 "" token bob --role viewer --tokens tokens --days 3
expect 0 "" token op --role operator --tokens tokens --out op
expect 1 "has a token of the name 'ann' already" token ann --tokens tokens --out other
expect 1 "ann.token: File exists" token ann --tokens fresh
expect 1 "viewer, client or operator, not 'king'" token carl --role king --tokens tokens
expect 1 "of letters, digits" token "a b" --tokens tokens
expect 2 "--days is a number" token carl --days soon --tokens tokens
expect 2 "names the silos' file" token carl
secret=$(cut -d: -f2 ann.token)
! grep -q "$secret" tokens || bad "the silos' file has a secret"
[ "$(stat -c %a ann.token tokens | sort -u)" = 600 ] || bad "modes of files"
sed 's/:.*/:a secret that is none/' ann.token >wrong.token
cp ann.token open.token
printf 'carl:%s\n' "$secret" >carl.token
printf 'no token\n' >broken.token
chmod 600 ./*.token
chmod 644 open.token

printf 'a long enough key of a cluster\n' >key
chmod 600 key
start a --workers 2 --tokens tokens --cluster-key-file key
a=$address
export GB_CONNECT="$a"
expect 0 1 call --token-file ann.token Any k add 1
expect 0 healthy status --token-file ann.token
expect 1 "EDENIED: the token 'ann' (client) may not operate silos" drain a --token-file ann.token
expect 0 healthy status --token-file bob.token
expect 0 Any grains --token-file bob.token
expect 1 "EDENIED: the token 'bob' (viewer) may not call grains" \
  call --token-file bob.token Any k add 1
expect 1 "EDENIED: the token 'bob' (viewer) may not operate silos" drain a --token-file bob.token
expect 0 3 call --token-file op Any k add 2
expect 1 "ENOENT: no silo has the name 'none'" drain none --token-file op
expect 1 "EDENIED: it refuses us: this silo wants a token (token_file)" status
expect 1 "EDENIED: it refuses us: the token 'carl' is not known here" \
  status --token-file carl.token
expect 1 "EDENIED: it refuses us: the token 'ann' is not known here, or its secret is another" \
  call --token-file wrong.token Any k add 1
expect 1 "others may read or change open.token: chmod 600 it" status --token-file open.token
expect 1 "broken.token holds no token, NAME:SECRET" status --token-file broken.token
expect 1 "absent.token cannot be read" status --token-file absent.token
expect 1 "a token for 192.0.2.1 without TLS: name the CA" \
  status --connect 192.0.2.1:7001 --token-file ann.token
logged a.log "was refused: the token 'carl' is not known here"
logged a.log "was refused: this silo wants a token (token_file)"

# A storm of wrong tokens: one connection for all calls of a second, and few lines.
cat >storm.lua <<'LUA'
local gb = require "gb"
local refused = 0
for i = 1, 2000 do
  local _, _, code = gb.get("Any", "k" .. i):add(1)
  if code == "EDENIED" then refused = refused + 1 end
end
print(refused == 2000 and "all refused" or refused)
LUA
before=$(grep -c "was refused" a.log) began=$(date +%s)
expect 0 "all refused" --token-file wrong.token storm.lua
more=$(($(grep -c "was refused" a.log) - before))
[ $more -le $((40 + 2 * ($(date +%s) - began))) ] || bad "$more lines about one storm"

# The file changes: what is taken away ends, what is new is served, what is broken changes nothing.
grep -v '^ann ' tokens >less
chmod 600 less
mkfifo here
cat >stay.lua <<'LUA'
local gb = require "gb"
local any = gb.get("Any", "stay")
assert(any:add(1))
io.open("here", "w"):close()
while true do
  local sum, message, code = any:add(1)
  if not sum then
    print(code, message)
    break
  end
end
while true do -- and it does not come in again
  local _, message, code = any:add(1)
  if code == "EDENIED" then return print(code, message) end
end
LUA
timeout 600 "$gbrun" --token-file ann.token stay.lua >stay.out 2>&1 &
stay=$!
timeout 600 cat here
mv less tokens
wait $stay || { bad "a client whose token was taken away"; cat stay.out; }
grep -q "EDENIED.*the token 'ann' is not known here" stay.out || { bad "why"; cat stay.out; }
expect 0 healthy status --token-file bob.token
cp tokens good
echo "one line too much" >>tokens
tries=0
until grep -q "the tokens stay as they were: tokens:3: a token's line is" a.log; do
  tries=$((tries + 1))
  [ $tries -lt 600 ] || { bad "a broken file of tokens is no line of the log"; break; }
  timeout 600 "$gbrun" status --token-file bob.token >/dev/null 2>&1
done
expect 0 healthy status --token-file bob.token
mv good tokens
expect 0 "" token dora --tokens tokens
eventually 0 4 call --token-file dora.token Any k add 1
sed -i 's/^dora client never/dora client 2020-01-01T00:00:00Z/' tokens
eventually 1 "EDENIED: it refuses us: the token 'dora' is over" \
  call --token-file dora.token Any k where
unset GB_CONNECT

if grep -rF "$secret" ./*.log; then bad "a secret in a log"; fi

# ---- the key of a cluster ----

k="sqlite:$work/k.db"
printf 'another key, just as long\n' >key2
printf 'short\n' >key3
chmod 600 key key2 key3
start b --cluster "$k" --workers 2 --cluster-key-file key
b_pid=$pid
GB_CLUSTER_KEY='a long enough key of a cluster' start c --cluster "$k" --workers 1
c_pid=$pid
expect 0 healthy status --connect "$address"
expect 0 7 call --connect "$address" Any k add 7
[ "$(timeout 600 "$gbrun" status --connect "$address" | grep -c ' active ')" -eq 2 ] ||
  bad "silos with one key"
GB_CLUSTER_KEY=0123456789abcdef expect 0 "(secret)" config
[ "$(GB_CLUSTER_KEY=0123456789abcdef "$gbrun" config | grep -c 0123456789abcdef)" -eq 0 ] ||
  bad "a key in gbrun config"
GB_CLUSTER_KEY=short expect 1 "cluster_key has 16 to 255 characters" silo --cluster "sqlite:x"
expect 1 "key3: a secret is a line of 16 to 255" silo --cluster "sqlite:x" --cluster-key-file key3
expect 1 "tokens alone keep nobody out who says that it is a silo: set a cluster_key_file" \
  silo --cluster "sqlite:x" --tokens tokens
expect 2 "unknown flag '--cluster-key'" silo --cluster "sqlite:x" --cluster-key key


# A stranger does not get as far as a link: the rows of the table are under the key.
expect 1 "(EDENIED)" silo --cluster "$k" --cluster-key-file key2
expect 1 "the silo that wrote it has another key (cluster_key)" \
  silo --cluster "$k" --cluster-key-file key2
expect 1 "the silo that wrote it has a key, and this one has none (cluster_key)" \
  silo --cluster "$k"
expect 0 healthy status --connect "$address" --check

# When all silos have left, the next ones may have another key.
kill -TERM "$b_pid" "$c_pid"
wait "$b_pid" "$c_pid"
start d --cluster "$k" --workers 2 --cluster-key-file key2
expect 0 healthy status --connect "$address" --check
kill -TERM "$pid"
wait "$pid"

# ---- with TLS ----

expect 0 "" certs certs --days 7
expect 0 "" certs others
tls="--workers 2 --cluster sqlite:t.db --ca certs/ca.crt --cert certs/silo.crt --key certs/silo.key"
# shellcheck disable=SC2086
start e $tls --tokens tokens --cluster-key-file key
e=$address
logged e.log "the certificate certs/silo.crt ends in 7 days: renew it"
# shellcheck disable=SC2086
start f $tls --tokens tokens --cluster-key-file key
export GB_CONNECT="$e"
expect 0 healthy status --token-file bob.token --ca certs/ca.crt
expect 0 1 call --token-file op --ca certs/ca.crt Any k add 1
expect 1 "EDENIED: it refuses us: this silo wants a token (token_file) or a certificate (tls_cert)" \
  status --ca certs/ca.crt
expect 1 "EDENIED: it refuses us: the token 'ann' is not known here" \
  status --token-file wrong.token --ca certs/ca.crt
expect 1 "EDENIED" status --token-file bob.token --ca others/ca.crt
expect 1 "is TLS on at one end?" status --token-file bob.token
set -- --ca certs/ca.crt --cert certs/client.crt --key certs/client.key
expect 0 2 call "$@" Any k add 1
expect 1 "EDENIED: the certificate 'client' (client) may not operate silos" drain e "$@"
expect 1 "EDENIED: the token 'bob' (viewer) may not call grains" \
  call "$@" --token-file bob.token Any k add 1
expect 0 "e is drained" drain e --token-file op --ca certs/ca.crt --wait
unset GB_CONNECT

if grep -H "Sanitizer\|runtime error" ./*.log; then failed=$((failed + 1)); fi
echo "$failed failed"
[ $failed -eq 0 ]
