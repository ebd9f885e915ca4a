import type { Logger } from "pino";
import { z } from "zod";
import type { ClusterNode } from "../cluster.ts";
import type { Link } from "./link.ts";
import { BEAT, LEAVE, NODES } from "./scripts.ts";

/** The most registrations of dead nodes that one heartbeat removes. The next heartbeat removes more. */
const MAX_REMOVED = 500;
/** The interval of heartbeats while Redis is unreachable. */
const RETRY_MS = 500;

const beatSchema = z.tuple([z.number(), z.number(), z.number()]);
const nodesSchema = z.array(z.tuple([z.string(), z.coerce.number(), z.coerce.number(), z.number()]));

interface Beat {
  /** False when this node was regarded as dead or Redis was emptied: its registrations may have been deleted. */
  known: boolean;
  /** This node's connections in Redis. */
  registered: number;
  /** The notices of all nodes so far. */
  notices: number;
}

interface HeartbeatOptions {
  link: Link;
  nodeId: string;
  startedAt: number;
  noticeCount: string;
  intervalMs: number;
  nodeTimeoutMs: number;
  onBeat: (beat: Beat) => void;
  logger: Logger;
}

/** Writes heartbeats, which also show whether Redis accepts writes. */
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

  /** Sends a heartbeat now, then at an interval. Concurrent calls share one. @throws {StoreUnavailableError} */
  beat(): Promise<void> {
    this.#beating ??= this.#beat().finally(() => {
      this.#beating = undefined;
      this.#schedule();
    });
    return this.#beating;
  }

  async nodes(): Promise<readonly ClusterNode[]> {
    const { link, nodeTimeoutMs } = this.#options;
    const answer = await link.run(NODES, [this.#nodes], [link.key(""), nodeTimeoutMs]);
    return nodesSchema
      .parse(answer)
      .map(([id, startedAt, lastSeenAt, connections]) => ({ id, startedAt, lastSeenAt, connections }));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#beating?.catch(() => {});
  }

  /** Stops, and removes this node from the cluster at once. @throws {StoreUnavailableError} the node was not removed */
  async leave(): Promise<void> {
    const { link, nodeId } = this.#options;
    await this.stop();
    await link.run(LEAVE, [this.#nodes, this.#gone], [nodeId]);
  }

  async #beat(): Promise<void> {
    clearTimeout(this.#timer);
    const { link, nodeId, startedAt, noticeCount, nodeTimeoutMs, onBeat } = this.#options;
    const keys = [this.#nodes, this.#gone, noticeCount];
    const answer = await link.probe(BEAT, keys, [link.key(""), nodeId, startedAt, nodeTimeoutMs, MAX_REMOVED]);
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
