import type { Logger } from "pino";
import { z } from "zod";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { decodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import { RetryingConnection, UNAVAILABLE_AFTER_MS } from "../../cluster/redis-connection.ts";
import { KEY } from "./keys.ts";

/** Kept for nodes that are behind: at a thousand messages a second, 100 s. A node further behind begins anew. */
export const MAX_LOG_ENTRIES = 100_000;
export const MAX_LOG_BYTES = 67_108_864;
const PAGE = 256;
/** How long a read waits for something new; well below the time-out of a command. */
const BLOCK_MS = 1_000;

/**
 * By what name all messages of the log go towards Aedes, whichever node they come from: together with their number, of
 * which there is one sequence for all nodes, it tells a message from a repetition.
 */
export const LOG_ID = "log";

export type LogEntry =
  | { kind: "packet"; packet: KeptPacket & { cmd: "publish" }; retain: string }
  /** A session was made, changed or, without an owner, discarded. */
  | { kind: "session"; clientId: string; owner: string; filters: string }
  /** A client has connected to the node. */
  | { kind: "client"; node: string; clientId: string; token: string; identity: string };

interface MessageLogOptions {
  redis: RedisConnections;
  /** Called with each entry, in order. */
  onEntry(entry: LogEntry): void;
  /**
   * Entries are missing: this node was away for too long, or Redis lost what it had. What was learned from the log is
   * to be read anew.
   */
  onHole(): Promise<void>;
  logger: Logger;
}

/**
 * Follows the log that all nodes write to: a Redis stream, read from where this node was. A connection that breaks
 * leaves no hole, as it does with PUBLISH and SUBSCRIBE, and all nodes see all entries in one order. Each entry names
 * the one before it, so that a hole is seen whatever made it.
 */
export class MessageLog {
  readonly #options: MessageLogOptions;
  readonly #connection: RetryingConnection;
  readonly #waiting = new Set<{ position: number; resolve: () => void }>();
  #position = 0;
  #answeredAt = 0;
  #closed = false;

  constructor(options: MessageLogOptions) {
    this.#options = options;
    this.#connection = new RetryingConnection(options.redis, "mqtt-log", options.logger);
  }

  /** The number of the newest entry that was handed on. */
  get position(): number {
    return this.#position;
  }

  /** Why the log has not been read for seconds; undefined while it is. */
  get unavailableReason(): string | undefined {
    if (performance.now() - this.#answeredAt < BLOCK_MS + UNAVAILABLE_AFTER_MS) return undefined;
    return this.#connection.unavailableReason ?? "Redis does not answer";
  }

  /** The number given last. */
  async head(): Promise<number> {
    return Number((await this.#connection.retry((connection) => connection.get(KEY.seq))) ?? 0);
  }

  /** Follows everything after the position. */
  start(position: number): void {
    this.#position = position;
    this.#answeredAt = performance.now();
    void this.#follow();
  }

  /** Resolves when the entry was handed on, and before the next one is. */
  reached(position: number): Promise<void> {
    if (position <= this.#position || this.#closed) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.add({ position, resolve }));
  }

  close(): void {
    this.#closed = true;
    this.#connection.close();
    this.#release(Number.POSITIVE_INFINITY);
  }

  async #follow(): Promise<void> {
    while (!this.#closed) {
      try {
        const entries = await this.#read();
        this.#answeredAt = performance.now();
        if (entries === undefined) await this.#beginAnew();
        else await this.#handOn(entries);
      } catch (error) {
        if (!this.#closed) this.#options.logger.error({ err: error }, "an entry of the message log cannot be read");
      }
    }
  }

  /** Undefined when Redis has forgotten what this node knows. */
  async #read(): Promise<[Buffer, Buffer[]][] | undefined> {
    let failed = false;
    const reply = await this.#connection.retry(async (connection) => {
      try {
        if (failed && Number((await connection.get(KEY.seq)) ?? 0) < this.#position) return "reset" as const;
        const from = `${this.#position}-0`;
        // After a failure it does not wait, so that it is soon seen to be over.
        return await connection.xreadBuffer("COUNT", PAGE, "BLOCK", failed ? 1 : BLOCK_MS, "STREAMS", KEY.log, from);
      } catch (error) {
        failed = true;
        throw error;
      }
    });
    // Quiet, or a Redis that was emptied.
    if (reply === null && (await this.head()) < this.#position) return undefined;
    return reply === "reset" ? undefined : (reply?.[0]?.[1] ?? []);
  }

  async #handOn(entries: [Buffer, Buffer[]][]): Promise<void> {
    for (const [id, [name, value]] of entries) {
      const [kind = "", retain = "", before] = name?.toString("latin1").split(":") ?? [];
      if (Number(before) !== this.#position) {
        await this.#beginAnew();
        return;
      }
      this.#position = Number.parseInt(id.toString("latin1"), 10);
      const read = value === undefined ? undefined : entryOf(kind, retain, value, this.#position);
      if (read !== undefined) this.#options.onEntry(read);
      // Who waits for this entry does what it has to before the next one: a session whose filter is stored here is
      // subscribed when the first message comes that is queued for it.
      if (this.#release(this.#position)) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #beginAnew(): Promise<void> {
    const position = await this.head();
    this.#options.logger.warn({ from: this.#position, to: position }, "messages between the nodes were missed");
    this.#position = position;
    await this.#options.onHole();
    // What somebody waits for may be among what is lost.
    this.#release(Number.POSITIVE_INFINITY);
  }

  /** @returns whether anybody waited */
  #release(upTo: number): boolean {
    let released = false;
    for (const waiting of this.#waiting) {
      if (waiting.position > upTo) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
      released = true;
    }
    return released;
  }
}

function entryOf(kind: string, retain: string, value: Buffer, position: number): LogEntry | undefined {
  switch (kind) {
    case "p": {
      const packet = { ...decodePacket(value), cmd: "publish" as const, brokerId: LOG_ID, brokerCounter: position };
      return { kind: "packet", packet, retain };
    }
    case "s": {
      const [clientId, owner, filters] = sessionSchema.parse(JSON.parse(value.toString()));
      return { kind: "session", clientId, owner, filters };
    }
    case "c": {
      const [node, clientId, token, identity] = clientSchema.parse(JSON.parse(value.toString()));
      return { kind: "client", node, clientId, token, identity };
    }
    default:
      // Written by a newer version, during a rolling restart.
      return undefined;
  }
}

const sessionSchema = z.tuple([z.string(), z.string(), z.string()]);
const clientSchema = z.tuple([z.string(), z.string(), z.string(), z.string()]);
