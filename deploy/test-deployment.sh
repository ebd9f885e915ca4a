#!/usr/bin/env bash
# Tests a running installation: the one of docker-compose.production.yml, or a bare `npm start`. Needs curl and node.
set -uo pipefail

readonly GROUPS_OF_CHECKS=(health auth websocket network load resources security)
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE

usage() {
  cat <<'TEXT'
Usage: deploy/test-deployment.sh [OPTION]… [health|auth|websocket|network|load|resources|security]…

Tests a running installation. Without names, runs all groups. Exit codes: 0 all checks passed, 1 a check failed, 2 wrong usage.

  --url URL          where the server answers (default: port 3000 of the containers, or http://127.0.0.1:8082)
  --mqtt HOST:PORT   where MQTT without TLS answers (default: 127.0.0.1:1883)
  --compose, --bare  which kind of installation (default: the containers if there are any)

The operator key is OPERATOR_KEY, or that of deploy/.env (containers), or that of DATA_PATH/secrets.json (bare).
Limits, as variables: LOAD_SOCKETS=20 LOAD_EVENTS=200 LOAD_P99_MS=2000 MAX_MEMORY_MB=450 MAX_MEMORY_PERCENT=90
MIN_FREE_DISK_PERCENT=5 MAX_EVENT_LOOP_DELAY_MS=500 WAIT_MS=10000
TEXT
}

# ---- Running checks -------------------------------------------------------------------------------------------------

ROWS=()
FAILED=0

# check GROUP TITLE COMMAND…: the command prints one line, and fails if its subject is broken. 77 means: does not apply.
check() {
  local group=$1 title=$2 detail status
  shift 2
  detail=$("$@" 2>&1)
  status=$?
  detail=$(tr '\n\t' '  ' <<<"$detail" | cut -c1-160)
  case $status in
    0) ROWS+=("pass"$'\t'"$group"$'\t'"$title"$'\t'"$detail") ;;
    77) ROWS+=("skip"$'\t'"$group"$'\t'"$title"$'\t'"$detail") ;;
    *) ROWS+=("FAIL"$'\t'"$group"$'\t'"$title"$'\t'"$detail") && FAILED=$((FAILED + 1)) ;;
  esac
}

print_table() {
  local row result group title detail skipped=0
  printf '\n%-6s %-10s %-52s %s\n' result group check detail
  for row in "${ROWS[@]}"; do
    IFS=$'\t' read -r result group title detail <<<"$row"
    [ "$result" = skip ] && skipped=$((skipped + 1))
    printf '%-6s %-10s %-52s %s\n' "$result" "$group" "$title" "$detail"
  done
  printf '\n%s checks: %s passed, %s failed, %s do not apply\n' \
    "${#ROWS[@]}" "$((${#ROWS[@]} - FAILED - skipped))" "$FAILED" "$skipped"
}

# ---- Requests -------------------------------------------------------------------------------------------------------

# request PATH CURL-OPTION…: sets STATUS; the body is in $WORK/body, the headers in $WORK/headers.
request() {
  local path=$1
  shift
  : >"$WORK/body"
  STATUS=$(curl -sS -k -m "$((WAIT_MS / 1000 + 1))" --path-as-is -o "$WORK/body" -D "$WORK/headers" -w '%{http_code}' "$@" "$URL$path" 2>"$WORK/error")
  [ "$STATUS" != 000 ] || fail "$(cat "$WORK/error")"
}

fail() {
  printf '%s\n' "$1"
  return 1
}

# A token or key never appears in a command line, where every user of the machine would see it.
bearer() {
  printf 'Authorization: Bearer %s\n' "$1" >"$WORK/bearer"
  printf '@%s' "$WORK/bearer"
}

expect_status() {
  local wanted=$1
  [[ " $wanted " == *" $STATUS "* ]] || fail "answered $STATUS instead of $wanted: $(head -c 200 "$WORK/body")"
}

body_field() { node "$HERE/probe.js" field "$1" <"$WORK/body"; }

probe() { TOKEN=${TOKEN-} KEY=$KEY WAIT_MS=$WAIT_MS NODE_TLS_REJECT_UNAUTHORIZED=0 NODE_NO_WARNINGS=1 node "$HERE/probe.js" "$@"; }

# mint PERMISSIONS: prints a token of five minutes.
mint() {
  request /auth/token -X POST -H "$(bearer "$KEY")" -d "{\"user_id\":\"deployment-test\",\"permissions\":$1,\"expires_in\":300}" || return 1
  expect_status 200 || return 1
  body_field token
}

# One token for all checks that need one, so that a run costs few of the requests that one address has in a minute.
reader_token() {
  [ -s "$WORK/reader" ] || mint '["dashboard:read"]' >"$WORK/reader.new" || { cat "$WORK/reader.new"; return 1; }
  [ -s "$WORK/reader" ] || mv "$WORK/reader.new" "$WORK/reader"
  cat "$WORK/reader"
}

# with_reader COMMAND…: runs it with TOKEN set to a token with dashboard:read.
with_reader() {
  local token
  token=$(reader_token) || fail "no token: $token" || return 1
  TOKEN=$token "$@"
}

# ---- health ---------------------------------------------------------------------------------------------------------

answers() { request /livez && expect_status 200 && body_field status; }
is_ready() { request /readyz && expect_status 200 && body_field status; }
is_healthy() {
  request /health && expect_status 200 || return 1
  [ "$(body_field status)" = healthy ] || fail "status $(body_field status)" || return 1
  printf 'version %s\n' "$(body_field version)"
}
serves_page() {
  local asset
  request / && expect_status 200 || return 1
  grep -qi '^content-type: text/html' "$WORK/headers" || fail "not HTML" || return 1
  asset=$(grep -o '/assets/[A-Za-z0-9._-]*\.js' "$WORK/body" | head -n 1)
  [ -n "$asset" ] || fail "the page names no program" || return 1
  request "$asset" && expect_status 200 && printf '%s\n' "$asset"
}
containers_are_healthy() {
  local name ill=()
  for name in $CONTAINERS; do
    container_is_healthy "$name" || ill+=("$name")
  done
  [ ${#ill[@]} -eq 0 ] || fail "not healthy: ${ill[*]}" || return 1
  wc -w <<<"$CONTAINERS" | awk '{ print $1 " containers" }'
}
container_is_healthy() {
  [ "$("$ENGINE" inspect -f '{{.State.Running}}' "$1")" = true ] || return 1
  # podman without systemd runs no health check by itself.
  if [ "$ENGINE" = podman ]; then
    [ "$("$ENGINE" inspect -f '{{if .Config.Healthcheck}}yes{{end}}' "$1")" = yes ] || return 0
    # Like Docker with `retries: 3`: one check that fails on a busy machine does not make the container unhealthy.
    podman healthcheck run "$1" >/dev/null 2>&1 || podman healthcheck run "$1" >/dev/null 2>&1 ||
      podman healthcheck run "$1" >/dev/null 2>&1
  else
    [[ $("$ENGINE" inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1") =~ ^(healthy)?$ ]]
  fi
}

check_health() {
  check health "the server answers" answers
  check health "the server accepts work" is_ready
  check health "the server is healthy" is_healthy
  check health "the dashboard page is served" serves_page
  [ "$KIND" = bare ] || check health "every container is healthy" containers_are_healthy
}

# ---- auth -----------------------------------------------------------------------------------------------------------

key_mints() {
  local token
  token=$(reader_token) || fail "$token" || return 1
  printf 'dashboard:read for 300 s\n'
}
token_opens() { request /cameras -H "$(bearer "$TOKEN")" && expect_status 200 && printf 'GET /cameras: 200\n'; }
token_is_limited() { request /users -H "$(bearer "$TOKEN")" && expect_status 403 && printf 'GET /users: 403\n'; }
# The header makes this a request from elsewhere also in trial mode, where this machine needs no key.
no_token_without_key() {
  request /auth/token -X POST -H 'X-Forwarded-For: 203.0.113.9' -d '{"user_id":"intruder","permissions":["dashboard:read"]}' &&
    expect_status "401 403" && printf 'POST /auth/token: %s\n' "$STATUS"
}
wrong_key_is_refused() {
  request /auth/token -X POST -H "$(bearer "$(printf 'x%.0s' {1..64})")" -d '{"user_id":"intruder","permissions":["dashboard:read"]}' &&
    expect_status 401 && printf 'POST /auth/token: 401\n'
}
forged_token_is_refused() { request /cameras -H "$(bearer "$(probe forge)")" && expect_status 401 && printf 'GET /cameras: 401\n'; }
altered_token_is_refused() { request /users -H "$(bearer "$(probe alter)")" && expect_status 401 && printf 'GET /users: 401\n'; }
revoked_token_is_refused() {
  local token claim
  token=$(mint '["dashboard:read"]') || fail "no token: $token" || return 1
  claim=$(TOKEN=$token probe claim jti) || fail "the token has no id" || return 1
  request /auth/revoke -X POST -H "$(bearer "$KEY")" -d "{\"token_id\":\"$claim\"}" && expect_status 204 || return 1
  request /cameras -H "$(bearer "$token")" && expect_status 401 && printf 'GET /cameras: 401\n'
}

check_auth() {
  check auth "the operator key mints a token" key_mints
  check auth "the token opens what it grants" with_reader token_opens
  check auth "the token opens nothing else" with_reader token_is_limited
  check auth "without a key, others get no token" no_token_without_key
  check auth "a wrong key mints no token" wrong_key_is_refused
  check auth "a token signed by another secret is refused" forged_token_is_refused
  check auth "a token with changed permissions is refused" with_reader altered_token_is_refused
  check auth "a revoked token is refused" revoked_token_is_refused
}

# ---- websocket ------------------------------------------------------------------------------------------------------

forged_socket_is_refused() { TOKEN=$(probe forge) probe refused "$URL"; }
channel_is_refused() {
  local token
  token=$(mint '["camera:deployment-test:read"]') || fail "no token: $token" || return 1
  TOKEN=$token probe forbidden "$URL"
}

check_websocket() {
  check websocket "an event arrives once" with_reader probe receive "$URL"
  check websocket "a forged token gets auth_error" forged_socket_is_refused
  check websocket "a channel needs its permission" channel_is_refused
  check websocket "a page of a foreign origin is refused" probe origin "$URL"
}

# ---- network --------------------------------------------------------------------------------------------------------

mqtt_accepts() { probe mqtt "$MQTT_HOST" "$MQTT_PORT" accepted tcp; }
mqtt_refuses() { TOKEN=$(probe forge) probe mqtt "$MQTT_HOST" "$MQTT_PORT" refused tcp; }
mqtt_over_tls() { probe mqtt "$MQTT_HOST" "$(setting MQTT_TLS_PORT 8883)" accepted tls; }
frontend_reaches_backend() {
  "$ENGINE" exec skylapse-frontend curl -fsS http://realtime-backend:8082/health
}
proxy_serves_https() {
  local URL
  URL=https://$(setting DOMAIN localhost):$(setting HTTPS_PORT 443)
  request /health --resolve "$(setting DOMAIN localhost):$(setting HTTPS_PORT 443):127.0.0.1" &&
    expect_status 200 && printf '%s\n' "$URL"
}
proxy_passes_websockets() { probe receive "https://localhost:$(setting HTTPS_PORT 443)"; }
stores_are_unpublished() {
  local service name published
  for service in redis postgres realtime-backend processing; do
    for name in $(containers_of "$service"); do
      published=$("$ENGINE" port "$name")
      [ -z "$published" ] || fail "$name is published: $published" || return 1
    done
  done
  printf 'only in the network of the containers\n'
}
back_network_is_internal() {
  local internal
  internal=$("$ENGINE" network inspect -f '{{.Internal}}' "${PROJECT}_back" 2>/dev/null)
  [ -n "$internal" ] || internal=$("$ENGINE" network inspect "${PROJECT}_back" | grep -c '"internal": true')
  [[ $internal =~ ^(true|[1-9])$ ]] || fail "the network ${PROJECT}_back leads outside" || return 1
  printf '%s_back leads nowhere\n' "$PROJECT"
}

check_network() {
  check network "MQTT accepts a token" with_reader mqtt_accepts
  check network "MQTT refuses a forged token" mqtt_refuses
  [ "$KIND" = bare ] && return
  check network "MQTT over TLS accepts a token" with_reader mqtt_over_tls
  check network "the frontend reaches the backend by its name" frontend_reaches_backend
  check network "the proxy serves HTTPS" proxy_serves_https
  [ "$(setting DOMAIN localhost)" != localhost ] || check network "the proxy passes WebSockets on" with_reader proxy_passes_websockets
  check network "stores and nodes are not published" stores_are_unpublished
  check network "the back network leads nowhere" back_network_is_internal
}

# ---- load -----------------------------------------------------------------------------------------------------------

# A user may have five dashboards by default (MAX_CONNECTIONS_PER_USER), so several runs share the sockets.
carries_load() { probe load "$URL" 5 "$LOAD_EVENTS" "$LOAD_P99_MS"; }
many_sockets() {
  local user=0 token pids=() status=0 pid
  while [ $((user * 5)) -lt "$LOAD_SOCKETS" ]; do
    request /auth/token -X POST -H "$(bearer "$KEY")" -d "{\"user_id\":\"deployment-load-$user\",\"permissions\":[\"dashboard:read\"],\"expires_in\":300}" &&
      expect_status 200 || return 1
    token=$(body_field token) || return 1
    TOKEN=$token probe load "$URL" 5 10 "$LOAD_P99_MS" >"$WORK/load.$user" &
    pids+=($!)
    user=$((user + 1))
  done
  for pid in "${pids[@]}"; do wait "$pid" || status=1; done
  [ "$status" -eq 0 ] || fail "$(cat "$WORK"/load.*)" || return 1
  printf '%s dashboards of %s users\n' "$((user * 5))" "$user"
}

check_load() {
  check load "$LOAD_EVENTS events arrive once and in order" with_reader carries_load
  check load "$LOAD_SOCKETS dashboards get every event" many_sockets
}

# ---- resources ------------------------------------------------------------------------------------------------------

stats() { request /stats -H "$(bearer "$KEY")" && expect_status 200; }
memory_is_bounded() {
  local bytes
  stats || return 1
  bytes=$(body_field node.memory_bytes) || fail "$bytes" || return 1
  [ "$bytes" -le $((MAX_MEMORY_MB * 1048576)) ] || fail "$((bytes / 1048576)) MB, more than $MAX_MEMORY_MB MB" || return 1
  printf '%s MB\n' "$((bytes / 1048576))"
}
event_loop_is_free() {
  local delay
  stats || return 1
  delay=$(body_field node.event_loop_delay_ms.p99) || fail "$delay" || return 1
  [ "${delay%.*}" -le "$MAX_EVENT_LOOP_DELAY_MS" ] || fail "$delay ms, more than $MAX_EVENT_LOOP_DELAY_MS ms" || return 1
  printf 'p99 %s ms\n' "$delay"
}
disk_is_free() {
  local folder=$DATA_FOLDER used
  [ -d "$folder" ] || { printf 'DATA_PATH is not on this machine\n' && return 77; }
  used=$(df -P "$folder" | awk 'NR == 2 { sub("%", "", $5); print $5 }')
  [ $((100 - used)) -ge "$MIN_FREE_DISK_PERCENT" ] || fail "$((100 - used)) % of $folder is free" || return 1
  printf '%s %% of %s is free\n' "$((100 - used))" "$folder"
}
containers_have_memory() {
  local name percent used=()
  for name in $CONTAINERS; do
    percent=$("$ENGINE" stats --no-stream --format '{{.MemPerc}}' "$name" | tr -d '% ')
    [ "${percent%.*}" -le "$MAX_MEMORY_PERCENT" ] || fail "$name uses $percent % of its memory" || return 1
    used+=("$percent")
  done
  printf 'percent of the limits: %s\n' "${used[*]}"
}

check_resources() {
  check resources "the server's memory is bounded" memory_is_bounded
  check resources "the event loop is free" event_loop_is_free
  check resources "the disk has space" disk_is_free
  [ "$KIND" = bare ] || check resources "containers have memory left" containers_have_memory
}

# ---- security -------------------------------------------------------------------------------------------------------

has_headers() {
  local header
  request / || return 1
  for header in 'content-security-policy: .*frame-ancestors' 'x-content-type-options: nosniff' 'referrer-policy: no-referrer'; do
    grep -qi "^$header" "$WORK/headers" || fail "missing: $header" || return 1
  done
  ! grep -qiE '^(server|x-powered-by):.*[0-9]' "$WORK/headers" || fail "a header names the version of a program"
}
unknown_path_is_404() { request "/no-such-path" && expect_status 404 && printf '404\n'; }
files_stay_inside() {
  local path
  for path in /../../../../etc/passwd /..%2f..%2f..%2f..%2fetc%2fpasswd /assets/..%2f..%2fpackage.json; do
    request "$path" && expect_status "400 403 404" || return 1
  done
  printf '%s\n' "$STATUS"
}
admin_needs_token() {
  local path
  for path in /users /devices /connections /stats /metrics; do
    request "$path" -H 'X-Forwarded-For: 203.0.113.9' && expect_status "401 403" || fail " ($path)" || return 1
  done
  printf '401\n'
}
large_body_is_refused() {
  head -c 1048576 /dev/zero | tr '\0' x >"$WORK/large"
  request /broadcast -X POST -H "$(bearer "$KEY")" -H 'Expect:' --data-binary "@$WORK/large" && expect_status 413 && printf '413 for 1 MiB\n'
}
foreign_page_reads_nothing() {
  request /health -H 'Origin: https://foreign.example' || return 1
  ! grep -qi '^access-control-allow-origin:' "$WORK/headers" || fail "a page of a foreign origin may read answers"
}
secrets_are_private() {
  local file mode
  for file in "${SECRET_FILES[@]}"; do
    [ -e "$file" ] || continue
    mode=$(node -p '(require("node:fs").statSync(process.argv[1]).mode & 0o777).toString(8)' "$file")
    [[ $mode == *00 ]] || fail "$file has the mode $mode: chmod go= it" || return 1
    printf '%s %s ' "${file##*/}" "$mode"
  done
  [ -n "${mode-}" ] || { printf 'no file with secrets on this machine\n' && return 77; }
}
containers_are_confined() {
  local name problems=() state
  for name in $CONTAINERS; do
    state=$("$ENGINE" inspect -f '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Memory}} {{.HostConfig.Privileged}} {{.HostConfig.CapDrop}}' "$name")
    [[ $state == true\ *no-new-privileges*\ false\ * ]] || problems+=("$name: $state")
    [[ $state != *\ 0\ false\ * ]] || problems+=("$name has no memory limit")
    [[ $state == *"[]" ]] && problems+=("$name keeps its capabilities")
  done
  [ ${#problems[@]} -eq 0 ] || fail "${problems[*]}" || return 1
  printf 'read-only, no-new-privileges, limited\n'
}
backend_is_not_root() {
  local name
  for name in $(containers_of realtime-backend); do
    [ "$("$ENGINE" exec "$name" id -u)" != 0 ] || fail "$name runs as root" || return 1
  done
  printf 'uid %s\n' "$("$ENGINE" exec "$name" id -u)"
}

check_security() {
  check security "security headers are set" has_headers
  check security "an unknown path is 404" unknown_path_is_404
  check security "files outside the page are not served" files_stay_inside
  check security "administration needs a token" admin_needs_token
  check security "a large body is refused" large_body_is_refused
  check security "a foreign page reads no answers" foreign_page_reads_nothing
  check security "files with secrets are private" secrets_are_private
  [ "$KIND" = bare ] && return
  check security "containers are confined" containers_are_confined
  check security "the backend is not root" backend_is_not_root
}

# ---- The installation -----------------------------------------------------------------------------------------------

# setting NAME DEFAULT: of deploy/.env.
setting() {
  local value
  value=$(sed -n "s/^$1=//p" "$ENV_FILE" 2>/dev/null | tail -n 1)
  # As in Docker, which reads the same file.
  value=${value%$'\r'}
  case $value in \"*\" | \'*\') value=${value:1:-1} ;; esac
  printf '%s' "${value:-$2}"
}

containers_of() { "$ENGINE" ps --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$1" --format '{{.Names}}'; }

find_engine() {
  local engine
  for engine in ${ENGINE-} docker podman; do
    command -v "$engine" >/dev/null && "$engine" ps >/dev/null 2>&1 && ENGINE=$engine && return
  done
  return 1
}

find_installation() {
  PROJECT=${PROJECT:-skylapse}
  ENV_FILE=${ENV_FILE:-$HERE/.env}
  CONTAINERS=
  if [ "$KIND" != bare ] && find_engine; then
    CONTAINERS=$("$ENGINE" ps --filter "label=com.docker.compose.project=$PROJECT" --format '{{.Names}}')
  fi
  if [ "$KIND" = auto ]; then
    KIND=bare
    [ -z "$CONTAINERS" ] || [ -n "$URL" ] || KIND=compose
  fi
  if [ "$KIND" = compose ]; then
    [ -n "$CONTAINERS" ] || { printf 'no containers of the project %s run: deploy/deploy-production.sh deploy\n' "$PROJECT" >&2 && exit 2; }
    URL=${URL:-http://127.0.0.1:$(setting FRONTEND_PORT 3000)}
    MQTT=${MQTT:-127.0.0.1:$(setting MQTT_PORT 1883)}
    DATA_FOLDER=$(cd "$HERE" && cd "$(setting DATA_PATH ./data)" 2>/dev/null && pwd)
    SECRET_FILES=("$ENV_FILE" "$DATA_FOLDER/secrets")
    KEY=${OPERATOR_KEY:-$(setting OPERATOR_KEY "")}
  else
    URL=${URL:-http://127.0.0.1:${WS_PORT:-8082}}
    DATA_FOLDER=${DATA_PATH:-$HERE/../data}
    SECRET_FILES=("$DATA_FOLDER/secrets.json")
    KEY=${OPERATOR_KEY:-$(sed -n 's/.*"operatorKey": "\(.*\)".*/\1/p' "$DATA_FOLDER/secrets.json" 2>/dev/null)}
  fi
  MQTT=${MQTT:-127.0.0.1:${MQTT_PORT:-1883}}
  MQTT_HOST=${MQTT%:*} MQTT_PORT=${MQTT##*:}
  URL=${URL%/}
  [ -n "$KEY" ] || { printf 'there is no operator key: set OPERATOR_KEY, or DATA_PATH to the data of the server\n' >&2 && exit 2; }
}

read_arguments() {
  KIND=auto URL='' MQTT='' CHOSEN=()
  while [ $# -gt 0 ]; do
    case $1 in
      --url | --mqtt) [ $# -ge 2 ] || { usage >&2 && exit 2; } ;;&
      --url) URL=$2 && shift ;;
      --mqtt) MQTT=$2 && shift ;;
      --compose) KIND=compose ;;
      --bare) KIND=bare ;;
      -h | --help) usage && exit 0 ;;
      *)
        [[ " ${GROUPS_OF_CHECKS[*]} " == *" $1 "* ]] || { printf 'unknown: %s\n\n' "$1" >&2 && usage >&2 && exit 2; }
        CHOSEN+=("$1")
        ;;
    esac
    shift
  done
  [ ${#CHOSEN[@]} -gt 0 ] || CHOSEN=("${GROUPS_OF_CHECKS[@]}")
}

require_programs() {
  local program
  for program in curl node; do
    command -v "$program" >/dev/null || { printf '%s is missing: install it\n' "$program" >&2 && exit 2; }
  done
}

main() {
  local group
  : "${LOAD_SOCKETS:=20}" "${LOAD_EVENTS:=200}" "${LOAD_P99_MS:=2000}" "${MAX_MEMORY_MB:=450}" "${MAX_MEMORY_PERCENT:=90}"
  : "${MIN_FREE_DISK_PERCENT:=5}" "${MAX_EVENT_LOOP_DELAY_MS:=500}" "${WAIT_MS:=10000}"
  read_arguments "$@"
  require_programs
  find_installation
  WORK=$(umask 077 && mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  printf 'Testing %s (%s)\n' "$URL" "$KIND"
  for group in "${CHOSEN[@]}"; do "check_$group"; done
  print_table
  [ "$FAILED" -eq 0 ]
}

main "$@"
