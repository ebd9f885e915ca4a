import { randomBytes } from "node:crypto";
import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import type { Cluster } from "../cluster.ts";
import { Bus } from "./bus.ts";
import { RedisCounters } from "./counters.ts";
import { RedisDocuments, type RedisDocumentsOptions } from "./documents.ts";
import { Heartbeat } from "./heartbeat.ts";
import { RedisLeases } from "./leases.ts";
import { Link } from "./link.ts";
import { RedisRegister } from "./register.ts";
import { RedisSignals } from "./signals.ts";

export interface RedisClusterOptions {
  redis: RedisConnections;
  /** Where the name of the store is kept between two runs. Default: nowhere. */
  lastStore?: RedisDocumentsOptions["lastStore"];
  /** Called when Redis was found to have lost its data. Default: the log alone says so. */
  onDamage?: OnDamage;
  logger: Logger;
  /** Between two signs of life of this node. Default 3,000. */
  heartbeatMs?: number;
  /** A node that was silent for so long is gone, its connections and leases with it. Default 30,000. */
  nodeTimeoutMs?: number;
  /** How long a lease outlives its holder. Default 10,000. */
  leaseMs?: number;
  /** A command that Redis does not answer in time fails, and Redis counts as away until it answers. Default 2,000. */
  commandTimeoutMs?: number;
  /** How long Redis is waited for at the start. Default 15,000. */
  startTimeoutMs?: number;
  /** Milliseconds since 1970, for the expiry of documents. Default: the clock. */
  now?: () => number;
  /** The clock by which documents expire, milliseconds since 1970. Default: `now`. */
  expiryNow?: () => number;
}

/** Between two attempts to reach Redis at the start. */
const START_RETRY_MS = 100;

/**
 * What the nodes know together, in Redis. While Redis is away every call that needs it rejects, at once or after
 * `commandTimeoutMs`; the node goes on by itself when it is back, and registers its connections anew.
 * @throws {StoreUnavailableError} Redis did not take a write within `startTimeoutMs`
 */
export async function openRedisCluster({
  redis,
  lastStore,
  onDamage = () => {},
  logger,
  heartbeatMs = 3_000,
  nodeTimeoutMs = 30_000,
  leaseMs = 10_000,
  commandTimeoutMs = 2_000,
  startTimeoutMs = 15_000,
  now = Date.now,
  expiryNow = now,
}: RedisClusterOptions): Promise<Cluster> {
  const nodeId = randomBytes(6).toString("hex");
  const link = new Link({ redis, logger, commandTimeoutMs });
  const bus = new Bus({
    ...{ redis, link, logger },
    onNotice: (notice) => {
      if (notice.kind === "signal") signals.receive(notice);
      else if (notice.kind === "document") documents.receive(notice);
      else if (notice.from !== nodeId) bus.missed();
    },
    onMissed: () => {
      documents.missed();
      signals.missed();
    },
  });
  const noticeCount = bus.count;
  const documents = new RedisDocuments({
    ...{ link, channel: bus.channel, noticeCount, logger, now: expiryNow, lastStore },
    onWrittenBack: (written) => tellEmptied(written, onDamage, logger),
  });
  const signals = new RedisSignals({ nodeId, publish: (notice) => bus.publish(notice), logger });
  const leases = new RedisLeases(link, leaseMs);
  let started = false;
  const heartbeat = new Heartbeat({
    ...{ link, nodeId, noticeCount, nodeTimeoutMs, logger },
    startedAt: Date.now(),
    intervalMs: heartbeatMs,
    onBeat: ({ known, registered, notices }) => {
      bus.compare(notices);
      signals.settle();
      connections.compare(registered, known || !started);
      documents.checkStore().catch(() => {});
      documents.sweep().catch(() => {});
    },
  });
  const nodes = () => heartbeat.nodes();
  const connections = new RedisRegister({ link, nodeId, nodeTimeoutMs, nodes, logger });

  let stopping: Promise<void> | undefined;
  const stop = async () => {
    signals.stop();
    documents.stop();
    // Told as far as Redis listens; without that the others find out by themselves.
    await Promise.all([leases.stop(), heartbeat.leave().catch(() => {})]);
    bus.stop();
    link.stop();
  };

  try {
    await link.connected(startTimeoutMs);
    const subscribed = bus.start();
    await firstBeat(heartbeat, startTimeoutMs);
    started = true;
    await within(commandTimeoutMs, subscribed);
  } catch (error) {
    await heartbeat.stop();
    bus.stop();
    link.stop();
    throw error;
  }

  return {
    shared: true,
    ...{ nodeId, documents, signals, leases, connections, nodes },
    counters: new RedisCounters(link, nodeId),
    get unavailableReason() {
      return link.unavailableReason;
    },
    check: () => heartbeat.beat(),
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** What this node knew is there again; the rest of what was in Redis is not. */
function tellEmptied(written: ReadonlyMap<string, number>, onDamage: OnDamage, logger: Logger): void {
  const documents = Object.fromEntries(written);
  const back = [...written].filter(([, count]) => count > 0).map(([collection, count]) => `${count} of ${collection}`);
  const rest = "logins, MQTT sessions, retained messages, events and pictures that were in Redis are lost";
  logger.error(
    { documents },
    `redis was emptied, or another one took its place: what this node knew is written back; ${rest}`,
  );
  onDamage({
    ...{ store: "redis", found: "Redis was emptied, or another one took its place" },
    missing: `${rest}; this node wrote back ${back.join(", ") || "nothing: it had just started, or other nodes had done it"}`,
  });
}

async function firstBeat(heartbeat: Heartbeat, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      await heartbeat.beat();
      return;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await after(START_RETRY_MS);
    }
  }
}

async function within(timeoutMs: number, event: Promise<void>): Promise<void> {
  const happened = new AbortController();
  const patience = after(timeoutMs, true, { signal: happened.signal }).catch(() => false);
  const late = await Promise.race([event, patience]);
  happened.abort();
  if (late === true) throw new StoreUnavailableError("Redis takes no subscription: may this user use its channels?");
}
