import { Histogram, type Registry } from "prom-client";

/** The latencies of events on their way from a camera to the sockets of this node. All values are seconds. */
export interface Latencies {
  /** From the camera's timestamp to the server. Events of a backlog, and of a camera whose clock is ahead, are excluded. */
  cameraToServer: Histogram;
  /** From the server to the disk or to Redis: the append to the journal. */
  append: Histogram;
  /** From the append to the write to the sockets, for the oldest event of each flush. */
  journalToSocket: Histogram;
}

const FAST = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Milliseconds that half of the events, and all but one in a hundred, needed at most since the start of this node. */
export interface LatencyView {
  p50: number;
  p99: number;
}

/** The latencies by name. A latency that was not measured yet is missing. */
export async function viewLatencies({ cameraToServer, append, journalToSocket }: Latencies) {
  const [camera, journal, socket] = await Promise.all([cameraToServer, append, journalToSocket].map(viewOf));
  return { camera_to_server: camera, append: journal, journal_to_socket: socket };
}

async function viewOf(histogram: Histogram): Promise<LatencyView | undefined> {
  const { values } = await histogram.get();
  const buckets = values.flatMap(({ labels: { le }, value }) =>
    typeof le === "number" ? [{ upTo: le, count: value }] : [],
  );
  const total = values.find(({ metricName }) => metricName?.endsWith("_count"))?.value ?? 0;
  if (total === 0) return undefined;
  return { p50: quantile(0.5, total, buckets), p99: quantile(0.99, total, buckets) };
}

/** Assumes that the values of a bucket are spread evenly, as Prometheus does. The last bucket has no upper end. */
function quantile(share: number, total: number, buckets: readonly { upTo: number; count: number }[]): number {
  const rank = share * total;
  let [from, below] = [0, 0];
  for (const { upTo, count } of buckets) {
    if (count >= rank) return milliseconds(from + ((upTo - from) * (rank - below)) / (count - below));
    [from, below] = [upTo, count];
  }
  return milliseconds(from);
}

const milliseconds = (seconds: number) => Math.round(seconds * 10_000) / 10;

/** @param registers the registries in which the histograms are published. Default: none */
export function createLatencies(...registers: Registry[]): Latencies {
  return {
    cameraToServer: new Histogram({
      name: "skylapse_event_camera_to_server_seconds",
      help: "Time from the timestamp of a camera's event to its arrival at the server. Backlogs are excluded.",
      buckets: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600],
      registers,
    }),
    append: new Histogram({
      name: "skylapse_journal_append_seconds",
      help: "Time of an append to the journal, until the event is durable.",
      buckets: FAST,
      registers,
    }),
    journalToSocket: new Histogram({
      name: "skylapse_event_journal_to_socket_seconds",
      help: "Time from the append of an event to its write to the dashboards' sockets, for the oldest of each flush.",
      buckets: FAST,
      registers,
    }),
  };
}
