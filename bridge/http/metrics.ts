import { Counter, collectDefaultMetrics, Gauge, Histogram, type Registry } from "prom-client";
import type { OutsideBrokerStats } from "../broker-link/outside/outside-broker.ts";
import type { PresenceService } from "../cameras/presence.ts";
import { countByStatus, seenCameras } from "../cameras/seen-cameras.ts";
import type { ArchiveStatus } from "../journal/archive/archive.ts";
import type { Journal } from "../journal/journal.ts";
import type { SocketsStats } from "../websocket/sockets.ts";

/** The state of the server's parts at one moment. */
export interface MetricsSource {
  version: string;
  isReady: boolean;
  journal: Pick<Journal, "head" | "lostEvents" | "snapshot" | "unavailableReason">;
  presence: Pick<PresenceService, "of">;
  /** Undefined when the archive is off. */
  archive: ArchiveStatus | undefined;
  sockets: SocketsStats;
  ingest: Readonly<Record<"accepted" | "duplicates" | "refused" | "failed" | "dropped" | "foreign" | "bytes", number>>;
  commands: { queued: number; inFlight: number };
  /** How far the system's clock is ahead of the server's own clock by an unconfirmed jump, seconds. */
  clockAheadSeconds: number;
  /** The counts of the MQTT broker. Undefined without a broker. */
  broker: BrokerCounts | undefined;
  /** Undefined with the embedded broker. */
  outsideBroker: OutsideBrokerStats | undefined;
}

/** The counts of the MQTT broker that are published. */
export type BrokerCounts = Readonly<Record<BrokerCount, number>>;

type BrokerCount =
  | "clients"
  | "connections"
  | "refusedConnections"
  | "refusedClients"
  | "received"
  | "refusedSubscriptions"
  | "delivered"
  | "shed"
  | "slowClients"
  | "refusedPublishes"
  | "notAccepted"
  | "sessions"
  | "retainedMessages"
  | "refusedRetained"
  | "offlineMessages"
  | "offlineBytes"
  | "droppedOfflineMessages"
  | "shareGroups"
  | "shareMembers"
  | "shareBacklog";

/** The value of a metric; for a metric with a label, one value for each value of the label. */
type Read = (source: MetricsSource) => number | undefined | Readonly<Record<string, number>>;

interface Metric {
  type: "counter" | "gauge";
  help: string;
  label?: string;
  read: Read;
}

const gauge = (help: string, read: Read, label?: string): Metric => ({
  ...{ type: "gauge", help, read },
  ...(label === undefined ? {} : { label }),
});
const counter = (help: string, read: Read, label?: string): Metric => ({
  ...gauge(help, read, label),
  type: "counter",
});

/** Metrics by name. Names, units and types follow https://prometheus.io/docs/practices/naming/. */
const METRICS: Readonly<Record<string, Metric>> = {
  skylapse_info: gauge("Version of the server. The value is 1.", ({ version }) => ({ [version]: 1 }), "version"),
  skylapse_ready: gauge("1 if this node is ready for work, as /readyz says.", ({ isReady }) => Number(isReady)),
  skylapse_cameras: gauge(
    "Cameras by presence.",
    ({ journal, presence }) => countByStatus(seenCameras(journal), presence),
    "presence",
  ),
  skylapse_clock_ahead_seconds: gauge(
    "How far the system's clock is ahead of the server's own clock by a jump that is not confirmed.",
    ({ clockAheadSeconds }) => clockAheadSeconds,
  ),
  skylapse_journal_available: gauge("1 if the journal accepts events.", ({ journal }) =>
    Number(journal.unavailableReason === undefined),
  ),
  skylapse_journal_position: gauge("Position of the newest event in the journal.", ({ journal }) => journal.head),
  skylapse_archive_available: gauge(
    "1 if the archive takes events. Without a value, another node fills the archive, or it is off.",
    ({ archive }) => (archive?.isFilling ? Number(archive.unavailableReason === undefined) : undefined),
  ),
  skylapse_archive_position: gauge(
    "Position up to which the events of the journal are archived.",
    ({ archive }) => archive?.position,
  ),
  skylapse_archive_behind_events: gauge(
    "Events in the journal that are not archived yet.",
    ({ archive }) => archive?.behind,
  ),
  skylapse_events_accepted_total: counter("Events appended to the journal.", ({ ingest }) => ingest.accepted),
  skylapse_events_accepted_bytes_total: counter("Payload bytes of accepted events.", ({ ingest }) => ingest.bytes),
  skylapse_events_duplicate_total: counter(
    "Publications that were acknowledged again, because the journal has them.",
    ({ ingest }) => ingest.duplicates,
  ),
  skylapse_events_refused_total: counter("Publications refused for ever.", ({ ingest }) => ingest.refused),
  skylapse_events_failed_total: counter(
    "Publications that were not acknowledged, because the append failed.",
    ({ ingest }) => ingest.failed,
  ),
  skylapse_events_dropped_total: counter(
    "QoS 0 publications lost because the store was slow or failed.",
    ({ ingest }) => ingest.dropped,
  ),
  skylapse_events_lost_total: counter(
    "Events that this node had accepted and acknowledged, and that Redis has lost, in a failover or a restart.",
    ({ journal }) => journal.lostEvents,
  ),
  skylapse_events_foreign_total: counter("Publications outside the topic root.", ({ ingest }) => ingest.foreign),
  skylapse_commands_queued: gauge("Commands that wait for their camera.", ({ commands }) => commands.queued),
  skylapse_commands_in_flight: gauge("Commands that a camera carries out.", ({ commands }) => commands.inFlight),
  skylapse_websocket_connections: gauge("Authenticated WebSocket connections.", ({ sockets }) => sockets.connections),
  skylapse_websocket_unauthenticated_connections: gauge(
    "WebSocket connections before their authentication.",
    ({ sockets }) => sockets.unauthenticated,
  ),
  skylapse_websocket_lagging_connections: gauge(
    "Connections whose socket was full, so that their events wait in the journal.",
    ({ sockets }) => sockets.lagging,
  ),
  skylapse_websocket_users: gauge("Users with a WebSocket connection.", ({ sockets }) => sockets.users),
  skylapse_websocket_opened_total: counter("WebSocket connections opened.", ({ sockets }) => sockets.opened),
  skylapse_websocket_refused_total: counter("WebSocket upgrades refused.", ({ sockets }) => sockets.refused),
  skylapse_websocket_closed_total: counter("WebSocket connections closed.", ({ sockets }) => sockets.closes, "code"),
  skylapse_deliveries_total: counter("Live events times sockets.", ({ sockets }) => sockets.fanOut.deliveries),
  skylapse_delivered_bytes_total: counter("Bytes of live events.", ({ sockets }) => sockets.fanOut.bytes),
  skylapse_backfill_events_total: counter("Events sent from the journal.", ({ sockets }) => sockets.catchUp.events),
  skylapse_backfill_waiting: gauge(
    "Subscribers that wait for events from the journal.",
    ({ sockets }) => sockets.catchUp.waiting,
  ),
  skylapse_mqtt_clients: gauge("Connected MQTT clients.", ({ broker }) => broker?.clients),
  skylapse_mqtt_connections: gauge("Open MQTT connections, authenticated or not.", ({ broker }) => broker?.connections),
  skylapse_mqtt_refused_connections_total: counter(
    "MQTT connections refused by a limit.",
    ({ broker }) => broker?.refusedConnections,
  ),
  skylapse_mqtt_refused_clients_total: counter(
    "MQTT clients refused at CONNECT.",
    ({ broker }) => broker?.refusedClients,
  ),
  skylapse_mqtt_received_total: counter(
    "MQTT publications that passed the access rules.",
    ({ broker }) => broker?.received,
  ),
  skylapse_mqtt_delivered_total: counter("MQTT messages delivered.", ({ broker }) => broker?.delivered),
  skylapse_mqtt_shed_total: counter("QoS 0 messages dropped for slow MQTT clients.", ({ broker }) => broker?.shed),
  skylapse_mqtt_slow_clients_total: counter(
    "MQTT clients disconnected because they read too slowly.",
    ({ broker }) => broker?.slowClients,
  ),
  skylapse_mqtt_refused_publications_total: counter(
    "MQTT publications acknowledged and discarded, or not retained.",
    ({ broker }) => broker?.refusedPublishes,
  ),
  skylapse_mqtt_not_accepted_total: counter(
    "MQTT publications not acknowledged, because they could not be made durable.",
    ({ broker }) => broker?.notAccepted,
  ),
  skylapse_mqtt_refused_subscriptions_total: counter(
    "MQTT subscriptions refused.",
    ({ broker }) => broker?.refusedSubscriptions,
  ),
  skylapse_mqtt_sessions: gauge("Stored MQTT sessions.", ({ broker }) => broker?.sessions),
  skylapse_mqtt_retained_messages: gauge("Retained MQTT messages.", ({ broker }) => broker?.retainedMessages),
  skylapse_mqtt_refused_retained_total: counter(
    "MQTT publications not retained because of a limit.",
    ({ broker }) => broker?.refusedRetained,
  ),
  skylapse_mqtt_queued_messages: gauge(
    "Messages in the queues of MQTT sessions.",
    ({ broker }) => broker?.offlineMessages,
  ),
  skylapse_mqtt_queued_bytes: gauge("Bytes in the queues of MQTT sessions.", ({ broker }) => broker?.offlineBytes),
  skylapse_mqtt_dropped_queued_messages_total: counter(
    "Messages dropped from full queues of MQTT sessions.",
    ({ broker }) => broker?.droppedOfflineMessages,
  ),
  skylapse_mqtt_share_groups: gauge("Groups of shared subscriptions.", ({ broker }) => broker?.shareGroups),
  skylapse_mqtt_share_members: gauge(
    "Members of groups of shared subscriptions.",
    ({ broker }) => broker?.shareMembers,
  ),
  skylapse_mqtt_share_backlog_messages: gauge(
    "Messages of shared subscriptions that no member has acknowledged.",
    ({ broker }) => broker?.shareBacklog,
  ),
  skylapse_outside_broker_connected: gauge(
    "1 if the MQTT broker of MQTT_URL is reached and heard.",
    ({ outsideBroker }) => (outsideBroker === undefined ? undefined : Number(outsideBroker.connected)),
  ),
  skylapse_outside_broker_receives: gauge(
    "1 if this node receives from the MQTT broker of MQTT_URL, for all nodes.",
    ({ outsideBroker }) => (outsideBroker === undefined ? undefined : Number(outsideBroker.receives)),
  ),
  skylapse_outside_broker_connections_total: counter(
    "Connections of this node that received from the MQTT broker of MQTT_URL.",
    ({ outsideBroker }) => outsideBroker?.connections,
  ),
  skylapse_outside_broker_received_total: counter(
    "Publications received from the MQTT broker of MQTT_URL, repetitions included.",
    ({ outsideBroker }) => outsideBroker?.received,
  ),
  skylapse_outside_broker_acknowledged_total: counter(
    "Publications that are durable and acknowledged to that broker.",
    ({ outsideBroker }) => outsideBroker?.acknowledged,
  ),
  skylapse_outside_broker_not_accepted_total: counter(
    "Publications not acknowledged to that broker, because they could not be made durable.",
    ({ outsideBroker }) => outsideBroker?.notAccepted,
  ),
  skylapse_outside_broker_published_total: counter(
    "Publications of the server that that broker has acknowledged, commands excepted.",
    ({ outsideBroker }) => outsideBroker?.published,
  ),
  skylapse_outside_broker_publish_refused_total: counter(
    "Publications of the server that that broker has refused.",
    ({ outsideBroker }) => outsideBroker?.publishRefused,
  ),
  skylapse_outside_broker_publish_behind: gauge(
    "Positions of the journal up to which publications of the server are not sent to that broker.",
    ({ outsideBroker }) => outsideBroker?.publishBehind,
  ),
  skylapse_outside_broker_sessions_lost_total: counter(
    "Times that that broker had lost the session of the server. Events may be missing.",
    ({ outsideBroker }) => outsideBroker?.lostSessions,
  ),
};

/** The metrics of this node in the text format of Prometheus. */
export interface Metrics {
  /** Publish further metrics here. */
  readonly registry: Registry;
  readonly requestSeconds: Histogram<"method" | "route" | "status">;
  readonly contentType: string;
  text(): Promise<string>;
}

/** @param read called once for each scrape */
export function createMetrics(registry: Registry, read: () => MetricsSource): Metrics {
  let source = read();
  collectDefaultMetrics({ register: registry });
  for (const [name, { type, help, label, read: readValue }] of Object.entries(METRICS)) {
    const options = { name, help, registers: [registry], labelNames: label === undefined ? [] : [label] };
    const metric = type === "gauge" ? new Gauge(options) : new Counter(options);
    Object.assign(metric, { collect: () => collect(metric, label, readValue(source)) });
  }
  const requestSeconds = new Histogram({
    name: "skylapse_http_request_duration_seconds",
    help: "Time to answer an HTTP request.",
    labelNames: ["method", "route", "status"] as const,
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [registry],
  });
  return {
    registry,
    requestSeconds,
    async text() {
      source = read();
      return await registry.metrics();
    },
    contentType: registry.contentType,
  };
}

/** The server's parts keep the counts, so each scrape replaces the value of the metric. */
function collect(metric: Gauge | Counter, label: string | undefined, value: ReturnType<Read>): void {
  metric.reset();
  if (value === undefined) return;
  if (typeof value === "number") metric.inc(value);
  else for (const [name, count] of Object.entries(value)) metric.inc({ [label ?? ""]: name }, count);
}
