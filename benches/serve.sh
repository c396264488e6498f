#!/usr/bin/env bash
# A sealed page from feed-server against the same bytes as a static file from nginx, on the same
# processors, by turns.
#
#   bash benches/serve.sh [SECONDS]   each measurement takes so long, else 5
#
# Needs wrk and nginx (on Debian: apt-get install wrk nginx-light), which are on 127.0.0.1 and ports of
# their own for as long as this runs. Printed are requests a second, the median of five rounds each, their
# ratio, and what memory feed-server has taken in the end.
set -euo pipefail
CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

seconds=${1:-5}
rounds=5
folder=$(mktemp -d)
ours='' theirs=''

finish() {
  [ -z "$ours" ] || kill "$ours" 2>/dev/null || true
  [ -z "$theirs" ] || kill "$theirs" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap finish EXIT

for program in wrk nginx curl; do
  command -v "$program" >/dev/null || {
    echo "$program is missing: apt-get install wrk nginx-light curl" >&2
    exit 2
  }
done

cargo build -q --release --locked --example feed-server

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# start_ours EVENTS A_PAGE: serves so many events; sets $base.
start_ours() {
  local events=$1 a_page=$2
  rm -f "$folder"/feed.db*
  for n in $(seq "$events"); do
    printf '{"title":"Patient","content":"/openmrs/ws/rest/v1/patient/%032d?v=full","category":"patient"}\n' "$n"
  done >"$folder/events.ndjson"
  # What it says goes to a file: nobody may have to read it.
  ./target/release/examples/feed-server --database "sqlite:$folder/feed.db" --listen 127.0.0.1:0 \
    --import "$folder/events.ndjson" --page-size "$a_page" >"$folder/ours.out" 2>"$folder/ours.err" &
  ours=$!
  for _ in $(seq 300); do
    grep -q listening "$folder/ours.out" && break
    kill -0 "$ours" || { cat "$folder/ours.err" >&2; exit 1; }
    sleep 0.1
  done
  base=$(sed -n 's/^listening on //p' "$folder/ours.out")
}

# start_nginx: serves the folder `static`; sets $static.
start_nginx() {
  local port
  port=$(free_port)
  cat >"$folder/nginx.conf" <<CONF
daemon off;
worker_processes $(nproc);
pid $folder/nginx.pid;
error_log $folder/nginx.err;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  open_file_cache max=1000 inactive=60s;
  open_file_cache_valid 60s;
  default_type "application/atom+xml; charset=utf-8";
  types { }
  client_body_temp_path $folder/t1; proxy_temp_path $folder/t2; fastcgi_temp_path $folder/t3;
  uwsgi_temp_path $folder/t4; scgi_temp_path $folder/t5;
  server {
    listen 127.0.0.1:$port;
    root $folder/static;
    etag on;
    add_header Cache-Control "private, max-age=31536000, immutable";
    add_header Vary "accept-encoding";
  }
}
CONF
  chmod 755 "$folder" "$folder/static"
  chmod 644 "$folder"/static/feed/*
  nginx -e "$folder/nginx.err" -p "$folder" -c "$folder/nginx.conf" &
  theirs=$!
  static=http://127.0.0.1:$port
  for _ in $(seq 100); do
    curl -sf -o /dev/null "$static/feed/1" && break
    sleep 0.1
  done
}

# rate URL [HEADER]: requests a second; all of them must be answered well.
rate() {
  local said
  said=$(wrk -t1 -c64 -d"${seconds}s" ${2:+-H "$2"} "$1")
  if grep -q 'Non-2xx\|Socket errors' <<<"$said"; then
    echo "$said" >&2
    return 1
  fi
  sed -n 's/^Requests\/sec: *//p' <<<"$said"
}

median() {
  sort -n | sed -n "$(((rounds + 1) / 2))p"
}

# compare NAME OURS THEIRS [OUR_HEADER THEIR_HEADER]
compare() {
  local one=() other=()
  for _ in $(seq "$rounds"); do
    one+=("$(rate "$2" "${4:-}")")
    other+=("$(rate "$3" "${5:-}")")
  done
  local a b
  a=$(printf '%s\n' "${one[@]}" | median)
  b=$(printf '%s\n' "${other[@]}" | median)
  awk -v name="$1" -v a="$a" -v b="$b" \
    'BEGIN { printf "%s: feed-server %.0f/s, nginx %.0f/s, ratio %.2f\n", name, a, b, a / b }'
}

etag() {
  curl -s -o /dev/null -D - "$1" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: *//p'
}

for a_page in 4 100; do
  start_ours 1000 "$a_page"
  mkdir -p "$folder/static/feed"
  curl -s -o "$folder/static/feed/1" "$base/feed/1"
  start_nginx
  size=$(stat -c %s "$folder/static/feed/1")
  compare "sealed page of $size bytes" "$base/feed/1" "$static/feed/1"
  compare "304 of $size bytes" "$base/feed/1" "$static/feed/1" \
    "If-None-Match: $(etag "$base/feed/1")" "If-None-Match: $(etag "$static/feed/1")"
  awk '/^VmHWM/ { printf "feed-server has taken %.1f MB at the most\n", $2 / 1024 }' "/proc/$ours/status"
  kill "$ours" "$theirs"
  wait "$ours" "$theirs" 2>/dev/null || true
  ours='' theirs=''
done
