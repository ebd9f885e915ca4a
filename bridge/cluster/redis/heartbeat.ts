import type { Logger } from "pino";
import { z } from "zod";
import { NOW, Script } from "../../../platform/redis/script.ts";
import type { ClusterNode } from "../cluster.ts";
import type { Link } from "./link.ts";

/** The most registrations of dead nodes that one heartbeat removes. The next heartbeat removes more. */
const MAX_REMOVED = 500;
/** The interval of heartbeats while Redis is unreachable. */
const RETRY_MS = 500;

/**
 * Writes the heartbeat of this node, and removes nodes without a recent heartbeat. From then on, their registrations do
 * not count. They are deleted in parts, so that Redis is not blocked for long.
 */
const beatScript = new Script(`
local nodes, gone, count = KEYS[1], KEYS[2], KEYS[3]
local prefix, id, started_at, timeout, left = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
${NOW}
local seen = tonumber(redis.call('ZSCORE', nodes, id) or 0)
redis.call('ZADD', nodes, now, id)
redis.call('HSETNX', prefix .. 'node:' .. id, 'started_at', started_at)
redis.call('ZREM', gone, id)
for _, other in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now - timeout)) do
  redis.call('ZREM', nodes, other)
  redis.call('ZADD', gone, now, other)
end
for _, other in ipairs(redis.call('ZRANGE', gone, 0, 9)) do
  local connections = prefix .. 'connections:' .. other
  local some = left > 0 and redis.call('HRANDFIELD', connections, left, 'WITHVALUES') or {}
  for index = 1, #some, 2 do
    redis.call('HDEL', prefix .. 'user:' .. some[index + 1], some[index])
    redis.call('HDEL', connections, some[index])
    left = left - 1
  end
  if redis.call('EXISTS', connections) == 0 then
    redis.call('ZREM', gone, other)
    redis.call('DEL', prefix .. 'node:' .. other)
  end
end
local registered = redis.call('HLEN', prefix .. 'connections:' .. id)
return { seen > now - timeout and 1 or 0, registered, tonumber(redis.call('GET', count) or 0) }
`);

const nodesScript = new Script(`
local nodes, prefix, timeout = KEYS[1], ARGV[1], tonumber(ARGV[2])
${NOW}
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', nodes, '(' .. (now - timeout), '+inf')) do
  found[#found + 1] = {
    id, redis.call('HGET', prefix .. 'node:' .. id, 'started_at') or '0', redis.call('ZSCORE', nodes, id),
    redis.call('HLEN', prefix .. 'connections:' .. id)
  }
end
return found
`);

const leaveScript = new Script(`
local nodes, gone, id = KEYS[1], KEYS[2], ARGV[1]
${NOW}
redis.call('ZREM', nodes, id)
redis.call('ZADD', gone, now, id)
`);

const beatSchema = z.tuple([z.number(), z.number(), z.number()]);
const nodesSchema = z.array(z.tuple([z.string(), z.coerce.number(), z.coerce.number(), z.number()]));

interface Beat {
  /** False when this node was regarded as dead or Redis was emptied: its registrations may have been deleted. */
  known: boolean;
  /** This node's connections in Redis. */
  registered: number;
  /** The notices of all nodes so far. */
  notices: number;
}

interface HeartbeatOptions {
  link: Link;
  nodeId: string;
  startedAt: number;
  noticeCount: string;
  intervalMs: number;
  nodeTimeoutMs: number;
  onBeat: (beat: Beat) => void;
  logger: Logger;
}

/** Writes heartbeats, which also show whether Redis accepts writes. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #nodes: string;
  readonly #gone: string;
  #beating: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#nodes = options.link.key("nodes");
    this.#gone = options.link.key("gone");
  }

  /** Sends a heartbeat now, then at an interval. Concurrent calls share one. @throws {StoreUnavailableError} */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
      this.#schedule();
    });
    return this.#beating;
  }

  async nodes(): Promise<readonly ClusterNode[]> {
    const { link, nodeTimeoutMs } = this.#options;
    const answer = await link.run(nodesScript, [this.#nodes], [link.key(""), nodeTimeoutMs]);
    return nodesSchema
      .parse(answer)
      .map(([id, startedAt, lastSeenAt, connections]) => ({ id, startedAt, lastSeenAt, connections }));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#beating?.catch(() => {});
  }

  /** Stops, and removes this node from the cluster at once. @throws {StoreUnavailableError} the node was not removed */
  async leave(): Promise<void> {
    const { link, nodeId } = this.#options;
    await this.stop();
    await link.run(leaveScript, [this.#nodes, this.#gone], [nodeId]);
  }

  async #beat(): Promise<void> {
    clearTimeout(this.#timer);
    const { link, nodeId, startedAt, noticeCount, nodeTimeoutMs, onBeat } = this.#options;
    const keys = [this.#nodes, this.#gone, noticeCount];
    const answer = await link.probe(beatScript, keys, [link.key(""), nodeId, startedAt, nodeTimeoutMs, MAX_REMOVED]);
    const [known, registered, notices] = beatSchema.parse(answer);
    onBeat({ known: known === 1, registered, notices });
  }

  #schedule(): void {
    if (this.#stopped) return;
    const { link, intervalMs } = this.#options;
    clearTimeout(this.#timer);
    const waitMs = link.unavailableReason === undefined ? intervalMs : Math.min(RETRY_MS, intervalMs);
    this.#timer = setTimeout(() => void this.beat().catch(() => {}), waitMs).unref();
  }
}
