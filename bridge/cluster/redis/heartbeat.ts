import type { Logger } from "pino";
import { z } from "zod";
import { NOW, Script } from "../../../platform/redis/script.ts";
import type { ClusterNode } from "../cluster.ts";
import type { Link } from "./link.ts";

/** Registrations of gone nodes that one beat removes; the next goes on. */
const MAX_REMOVED = 500;
/** Between two beats while Redis is away. */
const RETRY_MS = 500;

/**
 * Says that this node lives, and buries those that were silent for too long: their registrations are removed a part at
 * a time, so that Redis is never held up for long. What the dead have registered counts for nothing from the moment
 * on; removing it only makes room.
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

export interface Beat {
  /** False when the others took this node for gone, or Redis was emptied: what it registered may be gone. */
  known: boolean;
  /** Connections that Redis has of this node. */
  registered: number;
  /** Notices so far, of all nodes. */
  notices: number;
}

export interface HeartbeatOptions {
  link: Link;
  nodeId: string;
  startedAt: number;
  /** The key of the count of notices. */
  noticeCount: string;
  intervalMs: number;
  nodeTimeoutMs: number;
  onBeat: (beat: Beat) => void;
  logger: Logger;
}

/** The node's sign of life. Each beat is a write, so it also tells whether Redis takes writes. */
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

  /** Beats at once, and then again and again. Beats that are asked for while one is under way are that one. @throws {StoreUnavailableError} */
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

  /** Stops, and lets the others know at once that this node is gone. @throws {StoreUnavailableError} they do not */
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
