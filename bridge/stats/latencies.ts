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
