import { setTimeout as after } from "node:timers/promises";
import type { Logger } from "pino";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import type { OnDamage } from "../../../platform/level/damage.ts";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { Membership, type MembershipOptions } from "../../../platform/redis/membership.ts";
import type { Cluster } from "../cluster.ts";
import { Bus } from "./bus.ts";
import { RedisCounters } from "./counters.ts";
import { RedisDocuments, type RedisDocumentsOptions } from "./documents.ts";
import { RedisLeases } from "./leases.ts";
import { Link } from "./link.ts";
import { RedisRates } from "./rates.ts";
import { RedisRegister } from "./register.ts";
import { RedisSignals } from "./signals.ts";

export interface RedisClusterOptions extends Omit<MembershipOptions, "run" | "prefix"> {
  redis: RedisConnections;
  /** Keeps the name of the store over restarts. Default: the name is not kept. */
  lastStore?: RedisDocumentsOptions["lastStore"] | undefined;
  /** Called when Redis has lost its data. Default: the loss is only logged. */
  onDamage?: OnDamage;
  /** How long a lease outlives its holder. Default 10,000. */
  leaseMs?: number;
  /** How long the start waits for Redis. Default 15,000. */
  startTimeoutMs?: number;
  /** The clock by which documents expire. Default: `Date.now`. */
  expiryNow?: () => number;
}

export interface RedisCluster extends Cluster {
  readonly membership: Membership;
}

/**
 * While Redis is unreachable, every call that needs it rejects. When Redis is reachable again, the node registers its
 * connections again.
 * @throws {StoreUnavailableError} Redis did not accept a write within `startTimeoutMs`
 */
export async function openRedisCluster(options: RedisClusterOptions): Promise<RedisCluster> {
  const { redis, lastStore, onDamage = () => {}, logger, expiryNow = Date.now } = options;
  const { leaseMs = 10_000, startTimeoutMs = 15_000 } = options;
  const link = new Link(redis);
  const membership = new Membership({
    ...options,
    prefix: redis.prefix,
    run: (script, keys, args) => link.run(script, keys, args),
  });
  const { nodeId } = membership;
  const bus = new Bus({
    ...{ link, logger },
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
    onWrittenBack: (written) => reportEmptied(written, onDamage, logger),
  });
  const signals = new RedisSignals({ nodeId, publish: (notice) => bus.publish(notice), logger });
  const leases = new RedisLeases(link, leaseMs);
  const connections = new RedisRegister({ link, membership, logger });
  membership.onBeat(() => {
    connections
      .tidy(noticeCount)
      .then((notices) => {
        bus.compare(notices);
        signals.reportUnsent();
        documents.checkStore().catch(() => {});
        documents.sweep().catch(() => {});
      })
      // The next heartbeat tries again.
      .catch(() => {});
  });

  let onReadyEnd = () => {};
  let stopping: Promise<void> | undefined;
  const stop = async () => {
    onReadyEnd();
    signals.stop();
    documents.stop();
    // If Redis is unreachable, the leases and the heartbeat of this node expire.
    await Promise.all([leases.stop(), membership.leave().catch(() => {})]);
    bus.stop();
    link.stop();
  };

  try {
    await redis.commands.ready(startTimeoutMs);
    const subscribed = bus.start();
    await membership.start(startTimeoutMs);
    await within(startTimeoutMs, subscribed);
    onReadyEnd = redis.commands.onReady(() => void membership.beat().catch(() => {}));
  } catch (error) {
    await membership.stop();
    bus.stop();
    link.stop();
    throw error;
  }

  return {
    shared: true,
    ...{ nodeId, membership, documents, signals, leases, connections },
    async nodes() {
      const [members, counts] = await Promise.all([membership.nodes(), connections.counts()]);
      return members.map((member) => ({ ...member, connections: counts.get(member.id) ?? 0 }));
    },
    onNodes: (listener) => membership.onNodes(listener),
    counters: new RedisCounters(link, nodeId),
    now: () => membership.now(),
    get disagreements() {
      return membership.disagreements;
    },
    rates: new RedisRates(link),
    get unavailableReason() {
      return link.unavailableReason;
    },
    check: () => membership.beat(),
    stop() {
      stopping ??= stop();
      return stopping;
    },
  };
}

function reportEmptied(written: ReadonlyMap<string, number>, onDamage: OnDamage, logger: Logger): void {
  const documents = Object.fromEntries(written);
  const back = [...written].filter(([, count]) => count > 0).map(([collection, count]) => `${count} of ${collection}`);
  const lost = "logins, MQTT sessions, retained messages, events and pictures that were in Redis are lost";
  logger.error({ documents }, `redis was emptied or replaced: cached documents are written back; ${lost}`);
  const writtenBack = back.join(", ") || "nothing: it had just started, or other nodes were faster";
  onDamage({
    ...{ store: "redis", found: "Redis was emptied or replaced" },
    missing: `${lost}; this node wrote back ${writtenBack}`,
  });
}

async function within(timeoutMs: number, event: Promise<void>): Promise<void> {
  const happened = new AbortController();
  const timeout = after(timeoutMs, true, { signal: happened.signal }).catch(() => false);
  const isLate = await Promise.race([event, timeout]);
  happened.abort();
  if (isLate === true)
    throw new StoreUnavailableError("Redis accepts no subscription: check that its user may use the channels");
}
