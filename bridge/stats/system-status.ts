import { availableParallelism } from "node:os";
import type { Logger } from "pino";
import type { ClockJump, Resources, SystemStatus } from "../../contract/events.ts";
import type { Publish } from "../broker-link/publish.ts";
import type { Cluster } from "../cluster/cluster.ts";

export interface SystemStatusOptions {
  /** Of several nodes one speaks for all. */
  cluster: Pick<Cluster, "leases">;
  /** Why the store takes no writes; undefined when it does. */
  unavailableReason: () => string | undefined;
  /** A jump of the system's clock that nobody has confirmed. Default: there is none. */
  clockJump?: () => ClockJump | undefined;
  publish: Publish;
  version: string;
  logger: Logger;
  /** Between two looks at the node. Default 10,000. */
  intervalMs?: number;
}

/** What is not news is said again this often, so that a reader can tell quiet from dead, milliseconds. */
const REPEAT_MS = 60_000;
/** Who holds it says how the system is. */
const LEASE = "system-status";
/** Smaller changes are no news: percentage points of CPU, and the share of memory. */
const CPU_STEP = 5;
const MEMORY_STEP = 0.05;

/**
 * Publishes `system/status` at the start and when it changes, and `system/resources` when there is something to say.
 */
export function startSystemStatus(options: SystemStatusOptions): { stop(): Promise<void> } {
  const {
    cluster,
    unavailableReason,
    clockJump = () => undefined,
    publish,
    version,
    logger,
    intervalMs = 10_000,
  } = options;
  const startedAt = new Date().toISOString();
  let saidStatus: string | undefined;
  let said: { resources: Resources; at: number } | undefined;
  let usage = process.cpuUsage();
  let lookedAt = performance.now();

  function look(): void {
    const reason = unavailableReason();
    const clock = clockJump();
    const status: SystemStatus = {
      service: "skylapse-realtime",
      status: reason === undefined ? "ok" : "degraded",
      version,
      started_at: startedAt,
      ...(reason === undefined ? {} : { reason }),
      ...(clock === undefined ? {} : { clock }),
    };
    const key = `${status.status} ${reason ?? ""} ${clock?.message ?? ""}`;
    if (key !== saidStatus) {
      saidStatus = key;
      const topic = { kind: "system", name: "status" } as const;
      publish({ topic, event: "system.status", data: status, retain: true }).catch((error) => {
        saidStatus = undefined;
        logger.debug({ err: error }, "system status not published, trying again");
      });
    }
    const resources = measure();
    if (said !== undefined && Date.now() - said.at < REPEAT_MS && !differs(said.resources, resources)) return;
    said = { resources, at: Date.now() };
    const topic = { kind: "system", name: "resources" } as const;
    publish({ topic, event: "resource.update", data: resources, retain: true }).catch((error) => {
      said = undefined;
      logger.debug({ err: error }, "resources not published, trying again");
    });
  }

  /** This process: its share of all cores since the last look, and its resident memory. */
  function measure(): Resources {
    const now = performance.now();
    const { user, system } = process.cpuUsage(usage);
    const availableMicros = Math.max(1, now - lookedAt) * 1000 * availableParallelism();
    usage = process.cpuUsage();
    lookedAt = now;
    const percent = Math.min(100, ((user + system) / availableMicros) * 100);
    return { cpu_percent: Math.round(percent * 10) / 10, memory_bytes: process.memoryUsage.rss() };
  }

  let lease: Awaited<ReturnType<Cluster["leases"]["acquire"]>>;
  let stopped = false;
  let seeking = false;

  /** Another node that holds the lease said what there is to say; a new holder says all of it again. */
  async function lookAsHolder(): Promise<void> {
    if (seeking || stopped) return;
    if (lease === undefined || lease.lost.aborted) {
      seeking = true;
      try {
        lease = await cluster.leases.acquire(LEASE);
      } catch (error) {
        lease = undefined;
        logger.debug({ err: error }, "system status left to others");
      } finally {
        seeking = false;
      }
      saidStatus = undefined;
      said = undefined;
    }
    if (stopped) await lease?.release();
    else if (lease !== undefined) look();
  }

  void lookAsHolder();
  const timer = setInterval(() => void lookAsHolder(), intervalMs);
  timer.unref();
  return {
    async stop() {
      stopped = true;
      clearInterval(timer);
      await lease?.release();
    },
  };
}

function differs(before: Resources, after: Resources): boolean {
  return (
    Math.abs(after.cpu_percent - before.cpu_percent) >= CPU_STEP ||
    Math.abs(after.memory_bytes - before.memory_bytes) >= before.memory_bytes * MEMORY_STEP
  );
}
