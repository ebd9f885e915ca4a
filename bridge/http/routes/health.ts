import { monitorEventLoopDelay } from "node:perf_hooks";
import type { FastifyInstance } from "fastify";
import { SYSTEM } from "../../../contract/channels.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { demand } from "../callers.ts";
import type { Services } from "../services.ts";

/** Probes are frequent, come from one address and cost little. */
const UNLIMITED = { config: { rateLimit: false } } as const;

/**
 * `GET /health`, `GET /livez` and `GET /readyz` are open and name no user, camera or address.
 *
 * `GET /stats` names users and their addresses, so it needs `system:read`, except from this machine in trial mode. In
 * its response, `cluster` and `totals` are about all nodes, the rest is about this node.
 */
export function healthRoutes(server: FastifyInstance, services: Services): void {
  const { callers, sockets, stats, cluster, version, unavailableReason, checkStore, notices, clock, counts } = services;
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  server.addHook("onClose", async () => void delay.disable());
  const milliseconds = (nanoseconds: number) => Math.round(nanoseconds / 10_000) / 100;

  server.get("/livez", UNLIMITED, async () => ({ status: "alive" }));

  server.get("/readyz", UNLIMITED, async (_request, reply) => {
    const reason = unavailableReason() ?? (await checkStore());
    const { jump } = clock;
    const messages = [...notices(), ...(jump === undefined ? [] : [jump.message])];
    const details = messages.length === 0 ? {} : { notices: messages, ...(jump === undefined ? {} : { clock: jump }) };
    if (reason === undefined) return { status: "ready", ...details };
    return reply.code(503).send({ status: "not ready", reason, ...details });
  });

  server.get("/health", async () => {
    const { connections, healthy } = sockets.stats();
    return {
      status: unavailableReason() === undefined ? "healthy" : "degraded",
      timestamp: new Date().toISOString(),
      version,
      connections,
      healthy_connections: healthy,
    };
  });

  server.get("/stats", async (request) => {
    demand(callers.orLocal(request).grants.canReadChannel(SYSTEM), "system:read");
    const { connections, healthy } = sockets.stats();
    return {
      total_connections: connections,
      healthy_connections: healthy,
      channels: sockets.channelCounts(),
      connection_details: sockets.connections(),
      timestamp: new Date().toISOString(),
      version,
      node: {
        id: cluster.nodeId,
        uptime_seconds: Math.round(process.uptime()),
        memory_bytes: process.memoryUsage.rss(),
        event_loop_delay_ms: { p50: milliseconds(delay.percentile(50)), p99: milliseconds(delay.percentile(99)) },
        ...counts(),
      },
      cluster: await clusterCounts(cluster),
      totals: stats.totals(),
    };
  });
}

async function clusterCounts({ nodes }: Services["cluster"]): Promise<object> {
  try {
    const found = await nodes();
    return {
      total_connections: found.reduce((sum, { connections }) => sum + connections, 0),
      nodes: found.map(({ id, startedAt, lastSeenAt, connections }) => ({
        id,
        started_at: new Date(startedAt).toISOString(),
        last_seen_at: new Date(lastSeenAt).toISOString(),
        connections,
      })),
    };
  } catch (error) {
    if (!(error instanceof StoreUnavailableError)) throw error;
    return { trouble: error.message };
  }
}
