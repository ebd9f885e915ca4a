#!/usr/bin/env bash
# Installs and runs docker-compose.production.yml with Docker or podman. See "Deploy with containers" in docs/operations.md.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly HERE ROOT=$HERE/..
# Another folder for tests; podman-compose and docker compose read .env beside the compose file.
readonly ENV_FILE=$HERE/.env COMPOSE_FILE=$HERE/docker-compose.production.yml
readonly PROJECT=${PROJECT:-skylapse}
readonly CURRENT=localhost/skylapse-realtime:current PREVIOUS=localhost/skylapse-realtime:previous
readonly FILMS=localhost/skylapse-processing:current
readonly SECRETS=(JWT_SECRET OPERATOR_KEY REDIS_PASSWORD POSTGRES_PASSWORD GRAFANA_PASSWORD METRICS_TOKEN PROCESSING_SECRET PROCESSING_PASSWORD)
readonly HEALTH_TIMEOUT_S=${HEALTH_TIMEOUT_S:-180} STOP_TIMEOUT_S=20 MIN_FREE_MB=2048

usage() {
  cat <<'TEXT'
Usage: deploy/deploy-production.sh [COMMAND]

  deploy            (default) makes missing secrets in deploy/.env, builds the image, starts everything, waits for health
  stop              stops everything; all data stays
  restart           stops everything and starts it with the settings of deploy/.env
  status            shows the containers and whether the server accepts work
  logs [SERVICE]    follows the logs
  backup [FOLDER]   copies Redis, PostgreSQL, secrets and films, while everything runs
  restore FOLDER    replaces all data by a backup; needs --yes if there is data
  upgrade           backs up, builds the checked-out version, starts it; goes back by itself if it does not become healthy
  rollback          starts the image from before the last upgrade

deploy/.env may hold CAMERA_ID, LOCATION_LAT, LOCATION_LON, TIMEZONE, DOMAIN, DATA_PATH, REPLICAS, MONITORING=1 and every
setting of docs/configuration.md. BUILD_OPTIONS are further options of `docker build`. Exit codes: 0 done, 1 failed, 2 wrong usage.
TEXT
}

say() { printf '%s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'deploy-production: %s\n' "$*" >&2
  exit 1
}

# ---- Settings -------------------------------------------------------------------------------------------------------

# setting NAME [DEFAULT]: the value in deploy/.env.
setting() {
  local value=
  [ ! -e "$ENV_FILE" ] || value=$(sed -n "s/^$1=//p" "$ENV_FILE" | tail -n 1)
  # As in Docker, which reads the same file.
  value=${value%$'\r'}
  case $value in \"*\" | \'*\') value=${value:1:-1} ;; esac
  printf '%s' "${value:-${2-}}"
}

data_path() {
  local path
  path=$(setting DATA_PATH ./data)
  case $path in
    /*) printf '%s' "$path" ;;
    ./* | ../*) printf '%s/%s' "$HERE" "$path" ;;
    *) die "DATA_PATH=$path in deploy/.env: begin it with / or ./" ;;
  esac
}

random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Adds what is missing. Never changes a value: a new secret would end every token, or lock PostgreSQL.
make_secrets() {
  local name value
  [ -e "$ENV_FILE" ] || (umask 077 && printf '# Settings and secrets of this installation. Keep a copy in a safe place.\n' >"$ENV_FILE")
  chmod 600 "$ENV_FILE"
  [ -z "$(tail -c 1 "$ENV_FILE")" ] || printf '\n' >>"$ENV_FILE"
  for name in "${SECRETS[@]}"; do
    [ -z "$(setting "$name")" ] || continue
    value=${!name:-$(random_secret)}
    printf '%s=%s\n' "$name" "$value" >>"$ENV_FILE"
    say "made $name in deploy/.env"
  done
}

check_secrets() {
  local name
  for name in JWT_SECRET PROCESSING_SECRET; do
    [ "$(setting "$name" | wc -c)" -ge 32 ] || die "$name in deploy/.env is too short: use 32 characters or more, such as openssl rand -hex 32 prints"
  done
  for name in REDIS_PASSWORD POSTGRES_PASSWORD; do
    [[ $(setting "$name") =~ ^[A-Za-z0-9._~-]+$ ]] || die "$name in deploy/.env becomes a part of a URL: use letters, digits and . _ ~ - only"
  done
}

# Containers read these files as users other than this one, so the folder, not the files, keeps others out.
make_files() {
  local folder
  folder=$(data_path)/secrets
  mkdir -p "$(data_path)/films" "$folder"
  chmod 700 "$folder"
  chmod 1777 "$(data_path)/films"
  printf '%s' "$(setting METRICS_TOKEN)" >"$folder/metrics-token"
  make_certificate "$folder"
  chmod 644 "$folder"/*
}

make_certificate() {
  local folder=$1 domain
  domain=$(setting DOMAIN localhost)
  if [ ! -e "$folder/tls-cert.pem" ]; then
    command -v openssl >/dev/null || die "openssl is missing: install it, or put tls-cert.pem and tls-key.pem into $folder"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 825 -subj "/CN=$domain" \
      -addext "subjectAltName=DNS:$domain,DNS:localhost,IP:127.0.0.1" \
      -keyout "$folder/tls-key.pem" -out "$folder/tls-cert.pem" 2>/dev/null
    say "made a self-signed certificate for $domain: replace tls-cert.pem and tls-key.pem in $folder by those of an authority"
  fi
  [ -e "$folder/tls-key.pem" ] || die "$folder/tls-key.pem is missing: put the key of tls-cert.pem there"
  if command -v openssl >/dev/null; then
    openssl x509 -checkend 1209600 -noout -in "$folder/tls-cert.pem" >/dev/null ||
      warn "$folder/tls-cert.pem expires within two weeks: replace it, then run deploy/deploy-production.sh restart"
  fi
}

# ---- The machine ----------------------------------------------------------------------------------------------------

find_engine() {
  if [ "${ENGINE:-docker}" = docker ] && command -v docker >/dev/null; then
    ENGINE=docker
    if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose); else COMPOSE=(docker-compose); fi
  elif [ "${ENGINE:-podman}" = podman ] && command -v podman >/dev/null; then
    ENGINE=podman COMPOSE=(podman-compose)
  else
    die "neither Docker nor podman is installed: install one of them"
  fi
  command -v "${COMPOSE[0]}" >/dev/null || die "${COMPOSE[0]} is missing: install it"
  "$ENGINE" ps >/dev/null 2>&1 || die "$ENGINE does not answer: start it, or run this as a user who may use it"
}

check_machine() {
  local free
  free=$(df -Pm "$(data_path)" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$MIN_FREE_MB" ] || die "$(data_path) has only $free MB of space: free at least $MIN_FREE_MB MB"
  [ "$(date +%s)" -ge 1767225600 ] || die "the clock says $(date): set it, because tokens and certificates depend on it"
  if [ "$(timedatectl show -p NTPSynchronized --value 2>/dev/null || true)" = no ]; then
    warn "the clock is not synchronized: start a time service such as systemd-timesyncd"
  fi
  [ -n "$(containers)" ] || check_ports
}

check_ports() {
  local name port
  for name in FRONTEND_PORT=3000 WS_PORT=8082 MQTT_PORT=1883 MQTT_TLS_PORT=8883 HTTP_PORT=80 HTTPS_PORT=443; do
    port=$(setting "${name%=*}" "${name#*=}")
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      die "port $port is taken by another program: end that program, or set ${name%=*} in deploy/.env"
    fi
  done
}

# ---- Containers -----------------------------------------------------------------------------------------------------

compose() { "${COMPOSE[@]}" -p "$PROJECT" -f "$COMPOSE_FILE" "$@"; }

services() {
  printf 'redis postgres realtime-backend frontend proxy'
  [ ! -e "$HERE/examples/processing/Dockerfile" ] || printf ' processing'
  [ -z "$(setting MONITORING)" ] || printf ' redis-exporter prometheus grafana'
}

# containers [SERVICE]: the names of those that exist.
containers() {
  "$ENGINE" ps -a --filter "label=com.docker.compose.project=$PROJECT" \
    ${1:+--filter "label=com.docker.compose.service=$1"} --format '{{.Names}}'
}

first_of() { containers "$1" | sed -n 1p; }

build_images() {
  local options=() image
  read -ra options <<<"${BUILD_OPTIONS-}"
  # Only this format of an image has a health check.
  [ "$ENGINE" != podman ] || options+=(--format docker)
  image=$(setting NODE_IMAGE)
  say "building $CURRENT"
  "$ENGINE" build "${options[@]}" -f "$HERE/Dockerfile" ${image:+--build-arg "NODE_IMAGE=$image"} \
    --build-arg "REVISION=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || printf unknown)" -t "$CURRENT" "$ROOT" ||
    die "the image was not built: the lines above say why"
  [ -e "$HERE/examples/processing/Dockerfile" ] || return 0
  image=$(setting PROCESSING_BASE_IMAGE)
  say "building $FILMS"
  "$ENGINE" build "${options[@]}" ${image:+--build-arg "BASE_IMAGE=$image"} -t "$FILMS" "$HERE/examples/processing" ||
    die "the image of the processing service was not built: the lines above say why"
}

has_image() { "$ENGINE" image inspect "$1" >/dev/null 2>&1; }

bring_up() {
  local names
  read -ra names <<<"$(services)"
  # podman-compose starts containers that exist as they are, so changed settings and images need new ones.
  if [ "$ENGINE" = podman ] && [ -n "$(containers)" ]; then bring_down; fi
  compose up -d --no-build "${names[@]}" >"$(data_path)/compose.log" 2>&1 ||
    die "the containers were not started: $(tail -n 1 "$(data_path)/compose.log")"
}

# Stops all nodes before the first one starts with another version: nodes of two versions may not share Redis.
replace_nodes() {
  compose stop -t "$STOP_TIMEOUT_S" realtime-backend >"$(data_path)/compose.log" 2>&1 ||
    die "the nodes were not stopped: $(tail -n 1 "$(data_path)/compose.log")"
  bring_up
}

bring_down() {
  compose down -t "$STOP_TIMEOUT_S" >"$(data_path)/compose.log" 2>&1 || die "the containers were not stopped: $(tail -n 1 "$(data_path)/compose.log")"
}

is_healthy() {
  [ "$("$ENGINE" inspect -f '{{.State.Running}}' "$1" 2>/dev/null)" = true ] || return 1
  # podman without systemd runs no health check by itself.
  if [ "$ENGINE" = podman ]; then
    [ -z "$(podman inspect -f '{{if .Config.Healthcheck}}yes{{end}}' "$1")" ] || podman healthcheck run "$1" >/dev/null 2>&1
  else
    [[ $(docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{end}}' "$1") =~ ^(healthy)?$ ]]
  fi
}

unhealthy() {
  local service name
  for service in $(services); do
    name=$(first_of "$service")
    [ -n "$name" ] || printf '%s\n' "$service"
    for name in $(containers "$service"); do is_healthy "$name" || printf '%s\n' "$name"; done
  done
}

# wait_until SECONDS COMMAND…
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 1
  done
}

all_healthy() { [ -z "$(unhealthy)" ]; }

wait_for_health() {
  say "waiting until everything is healthy"
  wait_until "$HEALTH_TIMEOUT_S" all_healthy && return
  local name
  for name in $(unhealthy); do
    printf '%s is not healthy: %s\n' "$name" "$("$ENGINE" logs --tail 1 "$name" 2>&1 | cut -c1-300)" >&2
  done
  return 1
}

skylapse() { "$ENGINE" exec -i -e SKYLAPSE_URL=http://127.0.0.1:8082 "$(first_of realtime-backend)" skylapse "$@"; }

# is_listed NAME KIND. No grep -q: with pipefail, its early end would fail the pipe.
is_listed() { skylapse "$2" list | cut -f 1 | grep -x "$1" >/dev/null; }

register_devices() {
  local camera service
  service=$(setting PROCESSING_ID processing)
  is_listed "$service" service || skylapse service add "$service" --secret - <<<"$(setting PROCESSING_SECRET)"
  is_listed processing user || skylapse user add processing --permission camera:read <<<"$(setting PROCESSING_PASSWORD)"
  camera=$(setting CAMERA_ID)
  [ -n "$camera" ] || return 0
  ! is_listed "$camera" camera || return 0
  say "" "The first camera is registered. Put this into its configuration; the secret is not shown again:"
  say "CAMERA_ID=$camera"
  say "DEVICE_SECRET=$(skylapse camera add "$camera")"
  say "BROKER_URL=mqtts://$(setting DOMAIN localhost):$(setting MQTT_TLS_PORT 8883)"
  say "LOCATION_LAT=$(setting LOCATION_LAT 46.02)"
  say "LOCATION_LON=$(setting LOCATION_LON 7.75)"
  say "TIMEZONE=$(setting TIMEZONE Europe/Zurich)"
  say ""
}

# ---- Commands -------------------------------------------------------------------------------------------------------

prepare() {
  make_secrets
  check_secrets
  make_files
  check_machine
}

start_all() {
  bring_up
  wait_for_health || die "the installation is not healthy: see the lines above and deploy/deploy-production.sh logs"
  register_devices
  say "ready: http://localhost:$(setting FRONTEND_PORT 3000)/ and https://$(setting DOMAIN localhost):$(setting HTTPS_PORT 443)/"
  say "The first account: $ENGINE exec -it $(first_of realtime-backend) skylapse user add NAME --role admin"
}

run_deploy() {
  prepare
  has_image "$CURRENT" || build_images
  start_all
}

run_stop() { bring_down && say "stopped; all data stays in the volumes and in $(data_path)"; }

run_restart() {
  prepare
  bring_down
  start_all
}

run_status() {
  "$ENGINE" ps -a --filter "label=com.docker.compose.project=$PROJECT" --format 'table {{.Names}}\t{{.Status}}\t{{.Image}}'
  local ill
  ill=$(unhealthy | tr '\n' ' ')
  [ -z "$ill" ] || die "not healthy: $ill"
  say "everything is healthy"
}

run_logs() {
  [ $# -eq 0 ] || [ -n "$(first_of "$1")" ] || die "there is no service $1: one of $(services)"
  if [ $# -eq 0 ]; then compose logs -f; else "$ENGINE" logs -f "$(first_of "$1")"; fi
}

new_backup() { printf '%s/backups/%s' "$(data_path)" "$(date -u +%Y%m%dT%H%M%SZ)"; }

# PostgreSQL first: an archive that is behind the journal catches up, one that is ahead would have gaps.
run_backup() {
  local folder=${1:-$(new_backup)}
  [ ! -e "$folder" ] || die "$folder exists: name a new folder"
  [ -n "$(first_of redis)" ] || die "nothing runs: deploy/deploy-production.sh deploy"
  umask 077
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
  "$ENGINE" exec "$(first_of postgres)" pg_dump -U skylapse -Fc skylapse >"$folder/postgres.dump" || die "pg_dump failed: the backup is not complete"
  "$ENGINE" exec "$(first_of redis)" redis-cli --rdb - >"$folder/redis.rdb" 2>/dev/null || die "redis-cli --rdb failed: the backup is not complete"
  [ "$(head -c 5 "$folder/redis.rdb")" = REDIS ] || die "Redis sent no copy of its data: the backup is not complete"
  cp "$ENV_FILE" "$folder/env"
  tar -C "$(data_path)" -cf "$folder/files.tar" secrets films
  (cd "$folder" && sha256sum postgres.dump redis.rdb env files.tar >SHA256SUMS)
  BACKUP=$folder
  say "backed up to $folder: it contains all secrets"
}

has_data() { "$ENGINE" volume inspect "${PROJECT}_redis_data" >/dev/null 2>&1; }

run_restore() {
  local folder=$1 confirmed=${2-}
  [ -e "$folder/SHA256SUMS" ] || die "$folder is not a complete backup: it has no SHA256SUMS"
  (cd "$folder" && sha256sum --quiet -c SHA256SUMS) || die "$folder has changed since it was made: use another backup"
  ! has_data || [ "$confirmed" = --yes ] || die "this replaces all data: run deploy/deploy-production.sh restore $folder --yes"
  if [ ! -e "$ENV_FILE" ]; then (umask 077 && cp "$folder/env" "$ENV_FILE"); fi
  mkdir -p "$(data_path)"
  [ -e "$(data_path)/secrets" ] || tar -C "$(data_path)" -xf "$folder/files.tar"
  [ -n "$(ls -A "$(data_path)/films")" ] || tar -C "$(data_path)" -xf "$folder/files.tar" films
  prepare
  has_image "$CURRENT" || build_images
  [ -z "$(containers)" ] || bring_down
  restore_redis "$folder/redis.rdb"
  restore_postgres "$folder/postgres.dump"
  start_all
}

redis_is_up() { "$ENGINE" exec "$(first_of redis)" sh -c 'redis-cli ping | grep -q PONG'; }

start_redis() {
  compose up -d --no-build redis >"$(data_path)/compose.log" 2>&1 || die "Redis was not started: $(tail -n 1 "$(data_path)/compose.log")"
}

restore_redis() {
  say "restoring Redis"
  # Makes the volume.
  start_redis
  "$ENGINE" stop -t "$STOP_TIMEOUT_S" "$(first_of redis)" >/dev/null
  local image
  image=$(setting REDIS_IMAGE redis:7.4)
  "$ENGINE" run --rm -i --user redis --cap-drop ALL --network none -v "${PROJECT}_redis_data:/data" --entrypoint /bin/sh "$image" \
    -c "$(cat "$HERE/restore-redis.sh")" <"$1" >/dev/null || die "Redis did not load the backup"
  start_redis
  wait_until "$HEALTH_TIMEOUT_S" redis_is_up || die "Redis did not start: $("$ENGINE" logs --tail 1 "$(first_of redis)" 2>&1)"
  begin_new_epoch
}

# Clients that have seen events after the backup thereby learn of the gap.
begin_new_epoch() {
  REDIS_URL=redis://:$(setting REDIS_PASSWORD)@redis:6379 REDIS_PREFIX=$(setting REDIS_PREFIX skylapse) \
    "$ENGINE" run --rm --read-only --cap-drop ALL --network "${PROJECT}_back" -e REDIS_URL -e REDIS_PREFIX "$CURRENT" skylapse new-epoch ||
    die "the journal has no new epoch: the line above says why"
}

postgres_is_up() { "$ENGINE" exec "$(first_of postgres)" pg_isready -q -h 127.0.0.1 -U skylapse -d skylapse; }

restore_postgres() {
  say "restoring PostgreSQL"
  compose up -d --no-build postgres >"$(data_path)/compose.log" 2>&1 || die "PostgreSQL was not started: $(tail -n 1 "$(data_path)/compose.log")"
  wait_until "$HEALTH_TIMEOUT_S" postgres_is_up || die "PostgreSQL did not start: $("$ENGINE" logs --tail 1 "$(first_of postgres)" 2>&1)"
  "$ENGINE" exec -i "$(first_of postgres)" pg_restore -U skylapse -d skylapse --clean --if-exists --no-owner --exit-on-error <"$1" ||
    die "PostgreSQL did not accept the backup"
}

run_upgrade() {
  has_image "$CURRENT" || die "nothing is installed: deploy/deploy-production.sh deploy"
  prepare
  run_backup "$(new_backup)"
  "$ENGINE" tag "$CURRENT" "$PREVIOUS"
  build_images
  replace_nodes
  if wait_for_health; then
    say "upgraded. To go back: deploy/deploy-production.sh rollback"
    return
  fi
  warn "the new version did not become healthy: going back"
  go_back
  die "the upgrade failed, and the version from before runs again. All data from before is also in $BACKUP"
}

go_back() {
  "$ENGINE" tag "$PREVIOUS" "$CURRENT"
  replace_nodes
  wait_for_health || die "the version from before is not healthy either: deploy/deploy-production.sh restore FOLDER --yes"
}

run_rollback() {
  has_image "$PREVIOUS" || die "there is no earlier image: nothing was upgraded here"
  prepare
  go_back
  say "the version from before the last upgrade runs. If it cannot read newer data: deploy/deploy-production.sh restore FOLDER --yes"
}

# run_alone COMMAND…: runs this script again, unless another run is at work: both would make secrets and containers.
run_alone() {
  local status=0
  RUNS_ALONE=1 flock --nonblock --close --conflict-exit-code 75 "$HERE" bash "${BASH_SOURCE[0]}" "$@" || status=$?
  [ "$status" -ne 75 ] || die "another run of this script is at work: wait until it ends"
  exit "$status"
}

main() {
  local command=${1:-deploy}
  [ $# -eq 0 ] || shift
  case $command in
    deploy | stop | restart | status | upgrade | rollback) [ $# -eq 0 ] || { usage >&2 && exit 2; } ;;
    logs | backup) [ $# -le 1 ] || { usage >&2 && exit 2; } ;;
    restore) [[ $# -eq 1 || ($# -eq 2 && $2 = --yes) ]] || { usage >&2 && exit 2; } ;;
    -h | --help | help) usage && exit 0 ;;
    *) printf 'unknown command: %s\n\n' "$command" >&2 && usage >&2 && exit 2 ;;
  esac
  # macOS has no flock.
  case $command in
    status | logs) ;;
    *) if [ -z "${RUNS_ALONE-}" ] && command -v flock >/dev/null; then run_alone "$command" "$@"; fi ;;
  esac
  # Here, because die inside of "$(…)" would not end this program.
  data_path >/dev/null
  find_engine
  "run_$command" "$@"
}

main "$@"
