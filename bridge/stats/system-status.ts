import { availableParallelism } from "node:os";
import type { Logger } from "pino";
import type { ClockJump, Resources, SystemStatus } from "../../contract/events.ts";
import { type Publish, publishFor } from "../broker-link/publish.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { runAsSingleton, type Singleton } from "../cluster/singleton.ts";

interface SystemStatusOptions {
  /** Only the node that holds the lease publishes. */
  cluster: Pick<Cluster, "leases">;
  /** Why the server does not work fully; undefined while it does. */
  unavailableReason: () => string | undefined;
  /** The unconfirmed jump of the system's clock. Default: none. */
  clockJump?: () => ClockJump | undefined;
  publish: Publish;
  version: string;
  logger: Logger;
  /** Between two measurements of the resources. Default 10,000. */
  intervalMs?: number;
}

/** A failure is shown this soon. */
const STATUS_INTERVAL_MS = 1_000;
/** Unchanged resources are published again after this time, so that readers can detect a dead server. */
const REPEAT_MS = 60_000;
/** The smallest changes that are published: percentage points of the CPU load, and a share of the memory use. */
const CPU_STEP = 5;
const MEMORY_STEP = 0.05;

/** Publishes `system/status` and `system/resources` when they change, and resources also when outdated. */
export function startSystemStatus(options: SystemStatusOptions): Singleton {
  const { cluster, logger, intervalMs = 10_000 } = options;
  const startedAt = new Date().toISOString();
  // All leases share one meter: a lease begins with a report, and measuring needs an earlier measurement.
  const meter = new ResourceMeter();
  return runAsSingleton({
    ...{ leases: cluster.leases, name: "system-status", logger },
    async begin(lease) {
      const publish = publishFor(lease, options.publish);
      // A new reporter for each lease: another node may have published something else in the meantime.
      const reporter = new StatusReporter({ ...options, publish }, startedAt, meter);
      reporter.report();
      const statusTimer = setInterval(() => reporter.reportStatus(), Math.min(STATUS_INTERVAL_MS, intervalMs)).unref();
      const resourcesTimer = setInterval(() => reporter.reportResources(), intervalMs).unref();
      return {
        stop() {
          clearInterval(statusTimer);
          clearInterval(resourcesTimer);
        },
      };
    },
  });
}

class StatusReporter {
  readonly #options: SystemStatusOptions;
  readonly #startedAt: string;
  /** The last published status; undefined if the status must be published again. */
  #publishedStatus: string | undefined;
  #published: { resources: Resources; at: number } | undefined;
  readonly #meter: ResourceMeter;

  constructor(options: SystemStatusOptions, startedAt: string, meter: ResourceMeter) {
    this.#options = options;
    this.#startedAt = startedAt;
    this.#meter = meter;
  }

  report(): void {
    this.reportStatus();
    this.reportResources();
  }

  reportStatus(): void {
    const { publish, version, unavailableReason, clockJump, logger } = this.#options;
    const reason = unavailableReason();
    const clock = clockJump?.();
    const data: SystemStatus = {
      service: "skylapse-realtime",
      status: reason === undefined ? "ok" : "degraded",
      version,
      started_at: this.#startedAt,
      ...(reason === undefined ? {} : { reason }),
      ...(clock === undefined ? {} : { clock }),
    };
    const key = `${data.status} ${reason ?? ""} ${clock?.message ?? ""}`;
    if (key === this.#publishedStatus) return;
    this.#publishedStatus = key;
    const topic = { kind: "system", name: "status" } as const;
    publish({ topic, event: "system.status", data, retain: true }).catch((error) => {
      this.#publishedStatus = undefined;
      logger.debug({ err: error }, "system status not published, retrying");
    });
  }

  reportResources(): void {
    const { publish, logger } = this.#options;
    const data = this.#meter.measure();
    const before = this.#published;
    if (before !== undefined && Date.now() - before.at < REPEAT_MS && !differs(before.resources, data)) return;
    this.#published = { resources: data, at: Date.now() };
    const topic = { kind: "system", name: "resources" } as const;
    publish({ topic, event: "resource.update", data, retain: true }).catch((error) => {
      this.#published = undefined;
      logger.debug({ err: error }, "resources not published, retrying");
    });
  }
}

class ResourceMeter {
  #usage = process.cpuUsage();
  #measuredAt = performance.now();

  /** This process's share of all cores since the last measurement, and its resident memory. */
  measure(): Resources {
    const now = performance.now();
    const { user, system } = process.cpuUsage(this.#usage);
    const availableMicros = Math.max(1, now - this.#measuredAt) * 1000 * availableParallelism();
    this.#usage = process.cpuUsage();
    this.#measuredAt = now;
    const percent = Math.min(100, ((user + system) / availableMicros) * 100);
    return { cpu_percent: Math.round(percent * 10) / 10, memory_bytes: process.memoryUsage.rss() };
  }
}

function differs(before: Resources, after: Resources): boolean {
  return (
    Math.abs(after.cpu_percent - before.cpu_percent) >= CPU_STEP ||
    Math.abs(after.memory_bytes - before.memory_bytes) >= before.memory_bytes * MEMORY_STEP
  );
}
