#!/usr/bin/env bash
# Makes stand-ins for the base images out of Debian packages, because a machine for tests may reach no image registry.
# node:24 is Debian's minbase with the Node.js of the npm package `node`; every other image has Debian's programs.
# Keeps everything in CONTAINERS_PATH and makes only what is missing.
set -euo pipefail

: "${CONTAINERS_PATH:=${TMPDIR:-/tmp}/containers}"
readonly SUITE=bookworm
readonly SERVICES=(redis-server postgresql nginx-light libnginx-mod-stream curl caddy procps)

# Debian's crun may neither set limits nor use hybrid cgroups on some machines; runc works.
# Overlay, where the kernel mounts one here, is much faster than vfs, which copies the whole image for every container.
write_engine_config() {
  local driver=vfs try=$CONTAINERS_PATH/try
  mkdir -p "$try"/{lower,upper,work,merged}
  if mount -t overlay overlay -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" "$try/merged" 2>/dev/null; then
    umount "$try/merged"
    driver=overlay
  fi
  cat >"$CONTAINERS_PATH/containers.conf" <<CONF
[containers]
default_ulimits=["nofile=4096:4096","nproc=4096:4096"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
[network]
network_backend="netavark"
CONF
  cat >"$CONTAINERS_PATH/storage.conf" <<CONF
[storage]
driver="$driver"
runroot="$CONTAINERS_PATH/run-$driver"
graphroot="$CONTAINERS_PATH/graph-$driver"
CONF
}

has_image() { podman image exists "localhost/stand-in/$1"; }

make_minbase() {
  [ -e "$CONTAINERS_PATH/minbase.done" ] && return
  rm -rf "$CONTAINERS_PATH/minbase"
  debootstrap --variant=minbase "$SUITE" "$CONTAINERS_PATH/minbase" >"$CONTAINERS_PATH/debootstrap.log"
  touch "$CONTAINERS_PATH/minbase.done"
}

import_root() { tar -C "$1" -c . | podman import -q "${@:3}" - "localhost/stand-in/$2" >/dev/null; }

# Installs packages with this machine's sources. Starts no services.
install_debian() {
  local root=$1
  cp -r /etc/apt/. "$root/etc/apt/"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" && chmod +x "$root/usr/sbin/policy-rc.d"
  chroot "$root" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq --no-install-recommends "${@:2}" \
    >>"$CONTAINERS_PATH/apt.log" 2>&1
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/apt/{auth.conf.d,sources.list.d}
}

# Like node:24-trixie-slim: Node.js, npm, and a user `node` with the id 1000. With tini, which the Dockerfile then need
# not install.
make_node() {
  has_image node && return
  local root=$CONTAINERS_PATH/node
  rm -rf "$root" && cp -a "$CONTAINERS_PATH/minbase" "$root"
  npm install --silent --no-save --prefix "$CONTAINERS_PATH/npm" node@24
  cp "$(find "$CONTAINERS_PATH/npm/node_modules" -path '*bin/node' -type f -size +10M | head -n 1)" "$root/usr/local/bin/node"
  mkdir -p "$root/usr/local/lib/node_modules"
  cp -a "$(npm root -g)/npm" "$root/usr/local/lib/node_modules/npm"
  ln -s ../lib/node_modules/npm/bin/npm-cli.js "$root/usr/local/bin/npm"
  chroot "$root" useradd --uid 1000 --create-home node
  install_debian "$root" tini
  import_root "$root" node -c 'CMD ["node"]'
  rm -rf "$root"
}

# One root with all programs; the images differ in their entrypoints only.
make_services() {
  has_image services && return
  local root=$CONTAINERS_PATH/services
  rm -rf "$root" && cp -a "$CONTAINERS_PATH/minbase" "$root"
  install_debian "$root" "${SERVICES[@]}"
  rm -rf "$root/var/lib/postgresql"
  # As in the official image: podman gives a tmpfs the permissions of the folder below it.
  chmod 3777 "$root/run/postgresql"
  mkdir -p "$root/data" "$root/var/lib/postgresql/data" "$root/docker-entrypoint-initdb.d"
  chroot "$root" chown redis /data
  chroot "$root" chown -R postgres /var/lib/postgresql
  ln -sf /usr/lib/postgresql/15/bin/* "$root/usr/local/bin/"
  cat >"$root/usr/local/bin/postgres-entrypoint" <<'SH'
#!/bin/sh
# What the official image's entrypoint does with these variables.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" >/tmp/password
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust
  rm /tmp/password
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -k /var/run/postgresql" start
  createdb -h /var/run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
  pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -k /var/run/postgresql
SH
  chmod +x "$root/usr/local/bin/postgres-entrypoint"
  import_root "$root" services
  rm -rf "$root"
}

# Like debian:bookworm-slim with the sources of this machine, for the image of the processing service.
make_python() {
  has_image python && return
  local root=$CONTAINERS_PATH/python
  rm -rf "$root" && cp -a "$CONTAINERS_PATH/minbase" "$root"
  install_debian "$root" python3 python3-paho-mqtt ffmpeg tini
  # The Dockerfile of the service runs apt-get.
  cp -r /etc/apt/. "$root/etc/apt/"
  import_root "$root" python
  rm -rf "$root"
}

# Prometheus and its exporter for Redis. Debian has no package of Grafana: its stand-in is a web server that answers only
# Grafana's health check, so it tries the container's definition and no board.
make_monitoring() {
  has_image monitoring && return
  local root=$CONTAINERS_PATH/monitoring
  rm -rf "$root" && cp -a "$CONTAINERS_PATH/minbase" "$root"
  install_debian "$root" prometheus prometheus-redis-exporter busybox
  ln -s /usr/bin/prometheus-redis-exporter "$root/usr/local/bin/redis_exporter"
  ln -s /usr/bin/busybox "$root/usr/local/bin/wget"
  # As in the official image: the folder belongs to the user of the program, and so does a new volume there.
  mkdir -p "$root/prometheus" "$root/srv/grafana/api" "$root/var/lib/grafana"
  chown 65534:65534 "$root/prometheus"
  chown 472:0 "$root/var/lib/grafana"
  printf '{"database":"ok"}' >"$root/srv/grafana/api/health"
  import_root "$root" monitoring
  rm -rf "$root"
}

# tag_monitoring NAME USER ENTRYPOINT
tag_monitoring() {
  has_image "$1" || printf 'FROM localhost/stand-in/monitoring\nUSER %s\nENTRYPOINT %s\n' "$2" "$3" |
    podman build -q -t "localhost/stand-in/$1" --isolation chroot - >/dev/null
}

# Debian's packages under the names of the images in docker-compose.production.yml.
tag_services() {
  podman tag localhost/stand-in/services localhost/stand-in/{redis,nginx,caddy}
  has_image postgres && return
  podman build -q -t localhost/stand-in/postgres --isolation chroot - >/dev/null <<'DOCKERFILE'
FROM localhost/stand-in/services
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["postgres-entrypoint"]
DOCKERFILE
}

mkdir -p "$CONTAINERS_PATH"
write_engine_config
export CONTAINERS_CONF=$CONTAINERS_PATH/containers.conf CONTAINERS_STORAGE_CONF=$CONTAINERS_PATH/storage.conf
make_minbase
make_node
make_services
tag_services
make_python
make_monitoring
tag_monitoring prometheus 65534 '["prometheus"]'
tag_monitoring redis-exporter 59000 '["redis_exporter"]'
tag_monitoring grafana 472 '["busybox", "httpd", "-f", "-p", "3000", "-h", "/srv/grafana"]'
podman images --format '{{.Repository}} {{.Size}}'
