import type { Logger } from "pino";
import { sessionName } from "../../access/session-names.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { packetsKey, queueKey } from "./keys.ts";
import { LOG_ID } from "./message-log.ts";
import type { Drop, Operation, RedisWriter } from "./writer.ts";

/** Messages read at once; the reader takes them one by one. */
const PAGE = 32;

interface RedisQueuesOptions {
  /** For what makes a queue longer, and the ids that messages are sent with. */
  sessions: RedisWriter;
  /** For what frees memory: a Redis that is full takes nothing else. */
  removals: RedisWriter;
  reader: RetryingConnection;
  maxMessages: number;
  maxBytes: number;
  wantsReceipt(topic: string): boolean;
  logger: Logger;
}

interface InFlight {
  seq: number;
  packet: KeptPacket | undefined;
}

/**
 * The messages of QoS 1 and 2 that each persistent session has not acknowledged: in Redis, where any node finds them,
 * in the order of the log. They come there with the entry of the log, in one step: see `script.ts`.
 *
 * Bounded as those in LevelDB are (`../outgoing-queues.ts`): per session by count and bytes, dropping the oldest.
 */
export class RedisQueues {
  readonly #options: RedisQueuesOptions;
  /** What a connection was sent and has not acknowledged, by message id. */
  readonly #inFlight = new WeakMap<object, Map<number, InFlight>>();
  /** Messages of QoS 2 whose id is being written. */
  readonly #exact = new WeakMap<object, number>();
  /** Over all sessions and nodes, as Redis last said. */
  totals = { messages: 0, bytes: 0, at: 0 };
  /** By this node. */
  dropped = 0;

  constructor(options: RedisQueuesOptions) {
    this.#options = options;
  }

  counted(totals: { messages: number; bytes: number; at: number }): void {
    if (totals.at >= this.totals.at) this.totals = totals;
  }

  droppedFrom({ clientId, dropped, began }: Drop): void {
    this.dropped += dropped;
    if (began === undefined) return;
    const { maxMessages, maxBytes, logger } = this.#options;
    logger.warn(
      { ...sessionName(clientId), ...began, maxMessages, maxBytes },
      "the queue of an offline session drops its oldest",
    );
  }

  /** Shortens queues that are longer than the limits are now. */
  async bound(clientIds: Iterable<string>): Promise<void> {
    const { sessions } = this.#options;
    const bounded: Promise<unknown>[] = [];
    for (const id of clientIds) {
      const args = ["Q", id];
      bounded.push(sessions.run(() => ({ keys: [queueKey(id), packetsKey(id)], args })));
    }
    await Promise.all(bounded);
  }

  /**
   * Enters the id that a message is about to be sent with. At QoS 2 the same id must come again, so the message waits
   * until it is written; at QoS 1 the client may know the message by another id, and only waits so as not to overtake.
   */
  async send(client: { id: string }, packet: KeptPacket, messageId: number): Promise<void> {
    const { sessions, wantsReceipt } = this.#options;
    const seq = packet.brokerCounter;
    this.#sent(client).set(messageId, { seq, packet: wantsReceipt(packet.topic) ? packet : undefined });
    const keys = [packetsKey(client.id)];
    const written = sessions.run(() => ({ keys, args: ["S", String(seq), String(messageId)] }));
    const waiting = this.#exact.get(client) ?? 0;
    if (packet.qos < 2 && waiting === 0) {
      written.catch(() => undefined);
      return;
    }
    this.#exact.set(client, waiting + 1);
    try {
      await written;
    } finally {
      this.#exact.set(client, (this.#exact.get(client) ?? 1) - 1);
    }
  }

  /**
   * The client has a message of QoS 2 (PUBREC): from now on its PUBREL is sent again and not the message.
   * @param stored its number, when the PUBREL was read from the queue and is sent again
   */
  async release(client: { id: string }, messageId: number, stored?: number): Promise<void> {
    const sent = this.#sent(client);
    const seq = stored ?? sent.get(messageId)?.seq;
    // Never stored, as a retained message of QoS 2 is not.
    if (seq === undefined) return;
    sent.set(messageId, { seq, packet: sent.get(messageId)?.packet });
    if (stored !== undefined) return;
    const body = encodePacket({ ...PUBREL, brokerId: "", brokerCounter: seq, messageId });
    const keys = [packetsKey(client.id)];
    await this.#options.sessions.run(() => ({ keys, args: ["R", String(seq), body] }));
  }

  /**
   * The client has acknowledged the message: it leaves the queue, as soon as Redis takes it.
   * @returns the message when it is one that {@link RedisQueuesOptions.wantsReceipt} asked for
   */
  acknowledge(client: { id: string }, messageId: number): KeptPacket | undefined {
    const sent = this.#inFlight.get(client);
    const acknowledged = sent?.get(messageId);
    if (acknowledged === undefined) return undefined;
    sent?.delete(messageId);
    this.#remove(client.id, acknowledged.seq);
    return acknowledged.packet;
  }

  /** The client has the message by another of its subscriptions, of QoS 0, unless it is being sent at QoS 1 or 2. */
  dismiss(client: { id: string }, seq: number): void {
    for (const sent of this.#inFlight.get(client)?.values() ?? []) if (sent.seq === seq) return;
    this.#remove(client.id, seq);
  }

  /** What the session has not acknowledged after the key, oldest first; an empty key is before all. */
  async *readAfter(clientId: string, key: string): AsyncGenerator<{ key: string; packet: KeptPacket }> {
    const { reader } = this.#options;
    for (let last = key; ; ) {
      const from = last === "" ? "-inf" : `(${last}`;
      const page = await reader.retry((connection) =>
        connection.zrangebyscore(queueKey(clientId), from, "+inf", "LIMIT", 0, PAGE),
      );
      const fields = page.flatMap((seq) => [seq, `id${seq}`]);
      const values =
        fields.length === 0
          ? []
          : await reader.retry((connection) => connection.hmgetBuffer(packetsKey(clientId), ...fields));
      for (const [index, seq] of page.entries()) {
        const body = values[2 * index];
        // Dropped, or acknowledged, since the page was read.
        if (body == null) continue;
        yield { key: seq, packet: keptPacket(body, seq, values[2 * index + 1]) };
      }
      const newest = page.at(-1);
      if (newest === undefined || page.length < PAGE) return;
      last = newest;
    }
  }

  #sent(client: object): Map<number, InFlight> {
    let sent = this.#inFlight.get(client);
    if (sent === undefined) {
      sent = new Map();
      this.#inFlight.set(client, sent);
    }
    return sent;
  }

  /** Not waited for: a message that is not removed comes once more, which QoS 1 permits, and at QoS 2 is a PUBREL. */
  #remove(clientId: string, seq: number): void {
    const { removals, logger } = this.#options;
    const operation: Operation = { keys: [queueKey(clientId), packetsKey(clientId)], args: ["A", String(seq)] };
    removals
      .run(() => operation)
      .catch((error: unknown) => {
        logger.debug(
          { err: error, ...sessionName(clientId) },
          "an acknowledgement was not entered: the message will come again",
        );
      });
  }
}

const PUBREL = { cmd: "pubrel", topic: "", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;

function keptPacket(body: Buffer, seq: string, id: Buffer | null | undefined): KeptPacket {
  const packet = decodePacket(body);
  packet.brokerId = LOG_ID;
  packet.brokerCounter = Number(seq);
  if (id == null || packet.cmd !== "publish") return packet;
  // A message that has its id was sent before [MQTT-3.3.1-1].
  return { ...packet, messageId: Number(id), dup: true };
}
