import { monitorEventLoopDelay } from "node:perf_hooks";
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { cameraOfChannel, SYSTEM } from "../../../contract/channels.ts";
import { clockJumpSchema, timestampSchema } from "../../../contract/events.ts";
import type { Grants } from "../../../contract/permissions.ts";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { connectionInfoSchema } from "../../websocket/sockets.ts";
import { demand } from "../callers.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

/** Probes are frequent, come from one address and cost little. */
const UNLIMITED = { config: { rateLimit: false } } as const;
const readinessSchema = z.object({
  status: z.enum(["ready", "not ready"]),
  reason: z.string().optional().describe("With 503: why the server accepts no work"),
  notices: z.array(z.string()).optional().describe("Problems for an operator"),
  differences: z
    .array(z.string())
    .optional()
    .describe("Settings and clocks that differ between this node and other nodes. The log has the values"),
  clock: clockJumpSchema.optional().describe("An unconfirmed jump of the system's clock"),
});
const connectionCounts = {
  healthy_connections: z.number().describe("Connections of this node that keep up and answer pings"),
};
const latencySchema = z.object({ p50: z.number(), p99: z.number() });
const metricsOfPart = z.looseObject({});
const clusterSchema = z.object({
  total_connections: z.number().optional(),
  nodes: z
    .array(
      z.object({
        ...{
          id: z.string(),
          name: z.string(),
          started_at: timestampSchema,
          last_seen_at: timestampSchema,
          connections: z.number(),
        },
      }),
    )
    .optional(),
  trouble: z.string().optional().describe("Why the nodes cannot be listed now"),
});

const group = "Health and metrics";
const LIVE: RouteDescription = {
  ...{ group, summary: "Whether the process answers" },
  responses: { 200: { is: "The process answers", json: z.object({ status: z.literal("alive") }) } },
};
const READY: RouteDescription = {
  ...{ group, summary: "Whether the server accepts work" },
  responses: {
    200: { is: "The server accepts work", json: readinessSchema },
    503: { is: "The server accepts no work", json: readinessSchema },
  },
};
const HEALTH: RouteDescription = {
  ...{ group, summary: "Status, version and number of connections" },
  responses: {
    200: {
      is: "The same as of the predecessor of this server",
      json: z.object({
        status: z.enum(["healthy", "degraded"]),
        ...{ timestamp: timestampSchema, version: z.string() },
        connections: z.number().describe("Authenticated WebSocket connections of this node"),
        ...connectionCounts,
      }),
    },
  },
};
const STATS: RouteDescription = {
  ...{ group, summary: "Metrics of this node and of all nodes", permissions: ["system:read"], openInTrial: true },
  responses: {
    200: {
      is: "The metrics",
      json: z.object({
        total_connections: z.number().describe("Authenticated WebSocket connections of this node"),
        ...connectionCounts,
        channels: z.record(z.string(), z.number()).describe("Subscriptions of this node by channel"),
        connection_details: z.array(connectionInfoSchema),
        ...{ timestamp: timestampSchema, version: z.string() },
        node: z.looseObject({
          ...{ id: z.string(), uptime_seconds: z.number(), memory_bytes: z.number() },
          event_loop_delay_ms: latencySchema,
          latency_ms: z
            .object({
              camera_to_server: latencySchema.optional().describe("From the camera's timestamp to the server"),
              append: latencySchema.optional().describe("From the server to the journal"),
              journal_to_socket: latencySchema.optional().describe("From the journal to the dashboards"),
            })
            .describe("Of the events since the start of this node. A latency without events is missing"),
          last_backup_at: timestampSchema.optional().describe("When `skylapse backup` copied the data last"),
          ...{ journal: metricsOfPart, sockets: metricsOfPart, ingest: metricsOfPart, commands: metricsOfPart },
          ...{ access: metricsOfPart, archive: metricsOfPart, broker: metricsOfPart.optional() },
          outside_broker: metricsOfPart.optional().describe("With `MQTT_URL`: the connection to that broker"),
        }),
        cluster: clusterSchema,
        totals: z.object({
          ...{ since: timestampSchema, starts: z.number(), uptime_seconds: z.number() },
          counts: z.record(z.string(), z.number()),
        }),
      }),
    },
  },
};

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

  server.get("/livez", described(LIVE, UNLIMITED), async () => ({ status: "alive" }));

  server.get("/readyz", described(READY, UNLIMITED), async (_request, reply) => {
    const reason = unavailableReason() ?? (await checkStore());
    const { jump } = clock;
    const messages = [...notices(), ...(jump === undefined ? [] : [jump.message])];
    const differences = cluster.disagreements.map(({ message }) => message);
    const details = {
      ...(messages.length === 0 ? {} : { notices: messages, ...(jump === undefined ? {} : { clock: jump }) }),
      ...(differences.length === 0 ? {} : { differences }),
    };
    if (reason === undefined) return { status: "ready", ...details };
    return reply.code(503).send({ status: "not ready", reason, ...details });
  });

  server.get("/health", described(HEALTH), async () => {
    const { connections, healthy } = sockets.stats();
    return {
      status: unavailableReason() === undefined ? "healthy" : "degraded",
      timestamp: new Date().toISOString(),
      version,
      connections,
      healthy_connections: healthy,
    };
  });

  server.get("/stats", described(STATS), async (request) => {
    const { grants } = callers.orLocal(request);
    demand(grants.canReadChannel(SYSTEM), "system:read");
    const isSeen = (channel: string) => isVisibleChannel(channel, grants);
    const { connections, healthy } = sockets.stats();
    return {
      total_connections: connections,
      healthy_connections: healthy,
      channels: Object.fromEntries(Object.entries(sockets.channelCounts()).filter(([channel]) => isSeen(channel))),
      connection_details: sockets
        .connections()
        .map(({ channels, ...connection }) => ({ ...connection, channels: channels.filter(isSeen) })),
      timestamp: new Date().toISOString(),
      version,
      node: {
        id: cluster.nodeId,
        uptime_seconds: Math.round(process.uptime()),
        memory_bytes: process.memoryUsage.rss(),
        event_loop_delay_ms: { p50: milliseconds(delay.percentile(50)), p99: milliseconds(delay.percentile(99)) },
        latency_ms: await services.latencies(),
        last_backup_at: await services.lastBackupAt(),
        ...counts(),
      },
      cluster: await clusterCounts(cluster),
      totals: stats.totals(),
    };
  });
}

/** A reader who may see some cameras only must not learn the ids of others. */
function isVisibleChannel(channel: string, { onlyCameras }: Grants): boolean {
  const camera = cameraOfChannel(channel);
  return camera === undefined || onlyCameras === undefined || onlyCameras.has(camera);
}

async function clusterCounts({ nodes }: Services["cluster"]): Promise<object> {
  try {
    const found = await nodes();
    return {
      total_connections: found.reduce((sum, { connections }) => sum + connections, 0),
      nodes: found.map(({ id, name, startedAt, lastSeenAt, connections }) => ({
        id,
        name,
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
