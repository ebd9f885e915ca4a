import type { Logger } from "pino";
import { z } from "zod";
import type { RedisConnections } from "../../../platform/redis/connections.ts";
import { decodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import { RetryingConnection, UNAVAILABLE_AFTER_MS } from "../../cluster/redis-connection.ts";
import { KEY } from "./keys.ts";

/** Entries kept for nodes that lag: 100 s at a thousand messages a second. A node that lags further reloads. */
export const MAX_LOG_ENTRIES = 100_000;
export const MAX_LOG_BYTES = 67_108_864;
const PAGE = 256;
/** A read waits this long for new entries; well below the timeout of a command. */
const BLOCK_MS = 1_000;

/**
 * The broker id of all messages of the log, whatever node published them. Aedes recognizes duplicates by the broker id
 * and the message's number, and all nodes share one sequence of numbers.
 */
export const LOG_ID = "log";

export type LogEntry =
  | { kind: "packet"; packet: KeptPacket & { cmd: "publish" }; retain: string }
  /** A session was created or changed, or, if the owner is empty, discarded. */
  | { kind: "session"; clientId: string; owner: string; filters: string }
  /** A client has connected to the node. */
  | { kind: "client"; node: string; clientId: string; token: string; identity: string };

interface MessageLogOptions {
  redis: RedisConnections;
  onEntry(entry: LogEntry): void;
  /** Called when this node has missed entries. Everything learned from the log must be reloaded. */
  onGap(): Promise<void>;
  logger: Logger;
}

/**
 * Follows the log, a Redis stream that all nodes write to. Unlike PUBLISH and SUBSCRIBE, a stream loses nothing when a
 * connection breaks, and has the same order for all nodes. Each entry contains the number of the previous one, so that
 * every gap is detected.
 */
export class MessageLog {
  readonly #options: MessageLogOptions;
  readonly #connection: RetryingConnection;
  readonly #waiting = new Set<{ position: number; resolve: () => void }>();
  /** The number of the last entry that was passed on. */
  position = 0;
  #answeredAt = 0;
  #closed = false;

  constructor(options: MessageLogOptions) {
    this.#options = options;
    this.#connection = new RetryingConnection(options.redis, "mqtt-log", options.logger);
  }

  /** Why the log has not been readable for some seconds. */
  get unavailableReason(): string | undefined {
    if (performance.now() - this.#answeredAt < BLOCK_MS + UNAVAILABLE_AFTER_MS) return undefined;
    return this.#connection.unavailableReason ?? "Redis does not answer";
  }

  /** The newest position in Redis. */
  async head(): Promise<number> {
    return Number((await this.#connection.retry((connection) => connection.get(KEY.seq))) ?? 0);
  }

  start(position: number): void {
    this.position = position;
    this.#answeredAt = performance.now();
    void this.#follow();
  }

  /** Resolves after the entry at the position has been passed on, and before the next one is passed on. */
  reached(position: number): Promise<void> {
    if (position <= this.position || this.#closed) return Promise.resolve();
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
        if (entries === undefined) await this.#reload();
        else await this.#passOn(entries);
      } catch (error) {
        if (!this.#closed) this.#options.logger.error({ err: error }, "entry of the message log unreadable");
      }
    }
  }

  /** @returns undefined when Redis has lost entries that this node has read */
  async #read(): Promise<[Buffer, Buffer[]][] | undefined> {
    let failed = false;
    const reply = await this.#connection.retry(async (connection) => {
      try {
        if (failed && Number((await connection.get(KEY.seq)) ?? 0) < this.position) return "reset" as const;
        const from = `${this.position}-0`;
        // After a failure, the read does not wait for entries, so that recovery is detected quickly.
        return await connection.xreadBuffer("COUNT", PAGE, "BLOCK", failed ? 1 : BLOCK_MS, "STREAMS", KEY.log, from);
      } catch (error) {
        failed = true;
        throw error;
      }
    });
    // There are no new entries, or Redis has been emptied.
    if (reply === null && (await this.head()) < this.position) return undefined;
    return reply === "reset" ? undefined : (reply?.[0]?.[1] ?? []);
  }

  async #passOn(entries: [Buffer, Buffer[]][]): Promise<void> {
    for (const [id, [name, value]] of entries) {
      const [kind = "", retain = "", before] = name?.toString("latin1").split(":") ?? [];
      if (Number(before) !== this.position) {
        await this.#reload();
        return;
      }
      this.position = Number.parseInt(id.toString("latin1"), 10);
      const read = value === undefined ? undefined : entryOf(kind, retain, value, this.position);
      if (read !== undefined) this.#options.onEntry(read);
      // Callers that wait for this entry continue before the next entry is passed on. So a session is subscribed before
      // the first message that is queued for it is passed on.
      if (this.#release(this.position)) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #reload(): Promise<void> {
    const position = await this.head();
    this.#options.logger.warn({ from: this.position, to: position }, "this node has missed messages of other nodes");
    this.position = position;
    await this.#options.onGap();
    // Some callers may be waiting for entries that are lost.
    this.#release(Number.POSITIVE_INFINITY);
  }

  /** @returns whether a caller was waiting */
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
      // An entry of a newer version, during a rolling restart.
      return undefined;
  }
}

const sessionSchema = z.tuple([z.string(), z.string(), z.string()]);
const clientSchema = z.tuple([z.string(), z.string(), z.string(), z.string()]);
