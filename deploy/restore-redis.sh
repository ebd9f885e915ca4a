#!/bin/sh
# Runs in a container of Redis: reads a copy (RDB) from the standard input and turns it into the AOF of /data. A Redis with
# an AOF ignores a copy, so a Redis without one loads the copy first.
set -eu
rm -rf /data/*
cat >/data/dump.rdb
redis-server --dir /data --save "" --appendonly no --port 0 --unixsocket /tmp/redis.sock --daemonize yes >/dev/null
cli() { redis-cli -s /tmp/redis.sock "$@"; }
until [ "$(cli ping 2>/dev/null)" = PONG ]; do sleep 0.2; done
cli config set appendonly yes
until cli info persistence | tr -d '\r' | grep -qx aof_rewrite_in_progress:0; do sleep 0.2; done
until cli info persistence | tr -d '\r' | grep -qx aof_rewrite_scheduled:0; do sleep 0.2; done
cli info persistence | tr -d '\r' | grep -qx aof_last_bgrewrite_status:ok
cli shutdown nosave || true
while [ -S /tmp/redis.sock ]; do sleep 0.2; done
rm -f /data/dump.rdb
