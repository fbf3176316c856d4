#!/usr/bin/env bash
# Pontoon beside its peers on one machine, round after round in one run: durable replicated writes against etcd, reads through
# the proxy against twemproxy. Needs redis-server, redis-benchmark, nutcracker, etcd and wrk (Debian packages of these names).
#
#   cargo build --release && benches/end_to_end.sh [ROUNDS]
#
# etcd is driven through its HTTP gateway by wrk, which costs it some processor time; its figures elsewhere are from its own
# client. Prints each round and the medians.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-5}
binary=$PWD/target/release/pontoon
dir=$(mktemp -d -p "${TMPDIR:-/tmp}")
pids=()
cleanup() { kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$dir"; }
trap cleanup EXIT
cd "$dir"

{
  echo "version = 1"
  for n in 1 2 3; do printf '[[node]]\nname = "n%s"\naddr = "127.0.0.1:1860%s"\n' "$n" "$n"; done
  printf '[[shard]]\nname = "a"\nnodes = ["n1", "n2", "n3"]\n[[shard]]\nname = "b"\nnodes = ["n2", "n3", "n1"]\n'
} >shards.toml
for n in 1 2 3; do
  "$binary" node --config shards.toml --name "n$n" --data "p$n" >/dev/null 2>"p$n.log" &
  pids+=($!)
done
until "$binary" init --config shards.toml >/dev/null 2>init.log; do grep -q refused init.log || { cat init.log; exit 1; }; done
"$binary" proxy --config shards.toml --listen 127.0.0.1:18610 --workers 1 >/dev/null 2>proxy.log &
pids+=($!)

cluster=$(for n in 1 2 3; do printf 'e%s=http://127.0.0.1:1862%s,' "$n" "$n"; done)
for n in 1 2 3; do
  etcd --name "e$n" --data-dir "e$n" --initial-cluster "${cluster%,}" --initial-cluster-state new \
    --listen-peer-urls "http://127.0.0.1:1862$n" --initial-advertise-peer-urls "http://127.0.0.1:1862$n" \
    --listen-client-urls "http://127.0.0.1:1863$n" --advertise-client-urls "http://127.0.0.1:1863$n" >"e$n.log" 2>&1 &
  pids+=($!)
done
cat >put.lua <<'L'
local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"
local value = string.rep("eHh4", 33)
request = function()
  local key = ""
  for _ = 1, 16 do local i = math.random(#letters); key = key .. letters:sub(i, i) end
  return wrk.format("POST", "/v3/kv/put", nil, '{"key":"' .. key .. '","value":"' .. value .. '"}')
end
L

for port in 18641 18642 18643; do
  redis-server --port "$port" --save "" --appendonly no --dir "$dir" >/dev/null &
  pids+=($!)
done
{
  printf 'alpha:\n  listen: 127.0.0.1:18650\n  hash: crc32a\n  distribution: ketama\n  redis: true\n  servers:\n'
  for port in 18641 18642 18643; do printf '   - 127.0.0.1:%s:1\n' "$port"; done
} >nutcracker.yml
nutcracker -c nutcracker.yml -s 18651 >/dev/null 2>&1 &
pids+=($!)

answers() { [ "$(redis-cli -p "$1" ping 2>/dev/null || true)" = PONG ] || redis-cli -p "$1" get x 2>&1 | grep -qv refused; }
until answers 18610 && answers 18650 && curl -fs http://127.0.0.1:18631/health >/dev/null; do :; done

redis() { # port, test, requests, clients, pipeline
  redis-benchmark -p "$1" -t "$2" -n "$3" -c "$4" -P "$5" -d 100 -r 100000 -q 2>/dev/null | tr '\r' '\n' |
    sed -n 's/.*: \([0-9.]*\) requests per second.*/\1/p' | tail -n 1
}
etcd_put() { wrk -t1 -c64 -d4s -s put.lua http://127.0.0.1:18631 | sed -n 's/Requests\/sec: *//p'; }
median() { sort -n | sed -n "$(((rounds + 1) / 2))p"; }

for round in $(seq "$rounds"); do
  redis 18610 set 60000 64 1 >>pontoon_set
  etcd_put >>etcd_put
  redis 18610 get 100000 50 1 >>pontoon_get
  redis 18650 get 100000 50 1 >>twemproxy_get
  redis 18610 get 500000 50 32 >>pontoon_get_32
  redis 18650 get 500000 50 32 >>twemproxy_get_32
  for what in pontoon_set etcd_put pontoon_get twemproxy_get pontoon_get_32 twemproxy_get_32; do
    printf 'round %s  %-17s %s\n' "$round" "$what" "$(tail -n 1 $what)"
  done
done
row() { # what, file, file
  local ours theirs
  ours=$(median <"$2") theirs=$(median <"$3")
  awk -v w="$1" -v a="$ours" -v b="$theirs" 'BEGIN { printf "| %-46s | %10.0f | %10.0f | %5.2f |\n", w, a, b, a / b }'
}
printf '\n| %-46s | %10s | %10s | %5s |\n' "requests/s, medians of $rounds" "pontoon" "peer" "ratio"
row "durable SET, 64 clients, via proxy / etcd put" pontoon_set etcd_put
row "GET, 50 clients, via proxy / twemproxy" pontoon_get twemproxy_get
row "GET, pipeline 32, via proxy / twemproxy" pontoon_get_32 twemproxy_get_32
