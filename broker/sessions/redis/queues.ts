import type { Logger } from "pino";
import { sessionName } from "../../access/session-names.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../../aedes/packet-codec.ts";
import type { RetryingConnection } from "../../cluster/redis-connection.ts";
import { packetsKey, queueKey } from "./keys.ts";
import { LOG_ID } from "./message-log.ts";
import type { Drop, Operation, RedisWriter } from "./writer.ts";

/** Messages that are read at once. */
const PAGE = 32;

interface RedisQueuesOptions {
  /** For operations that need memory. */
  sessions: RedisWriter;
  /** For operations that free memory, which even a full Redis accepts. */
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
 * The messages of QoS 1 and 2 that each persistent session has not acknowledged, in Redis, in the order of the log. A
 * message is queued in one step with its log entry: see `script.ts`. A full queue drops its oldest messages, as in
 * LevelDB (`../outgoing-queues.ts`).
 */
export class RedisQueues {
  readonly #options: RedisQueuesOptions;
  /** Messages sent to a connection and not acknowledged, by message id. */
  readonly #inFlight = new WeakMap<object, Map<number, InFlight>>();
  /** For each connection, how many of its messages wait in {@link send} until a message id is written. */
  readonly #writingIds = new WeakMap<object, number>();
  /** The sum over all sessions at Redis' last answer. */
  totals = { messages: 0, bytes: 0, at: 0 };
  /** Counts only drops by operations of this node. */
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
    const fields = { ...sessionName(clientId), ...began, maxMessages, maxBytes };
    logger.warn(fields, "session queue full: oldest messages dropped");
  }

  /** Applies the current limits, which may be lower than in the previous run. */
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
   * Stores the id of a message that is about to be sent. A QoS 2 message must be resent with the same id, so it waits
   * until the id is written. A QoS 1 message waits only if earlier QoS 2 messages wait.
   */
  async send(client: { id: string }, packet: KeptPacket, messageId: number): Promise<void> {
    const { sessions, wantsReceipt } = this.#options;
    const seq = packet.brokerCounter;
    this.#sent(client).set(messageId, { seq, packet: wantsReceipt(packet.topic) ? packet : undefined });
    const keys = [packetsKey(client.id)];
    const written = sessions.run(() => ({ keys, args: ["S", String(seq), String(messageId)] }));
    const waiting = this.#writingIds.get(client) ?? 0;
    if (packet.qos < 2 && waiting === 0) {
      written.catch(() => undefined);
      return;
    }
    this.#writingIds.set(client, waiting + 1);
    try {
      await written;
    } finally {
      this.#writingIds.set(client, (this.#writingIds.get(client) ?? 1) - 1);
    }
  }

  /**
   * The client has received a message of QoS 2 (PUBREC). The PUBREL replaces the message.
   * @param stored the number of the PUBREL from the queue, when it is being resent
   */
  async release(client: { id: string }, messageId: number, stored?: number): Promise<void> {
    const sent = this.#sent(client);
    const seq = stored ?? sent.get(messageId)?.seq;
    // The message is not in the queue. It may be a retained message of QoS 2, for example.
    if (seq === undefined) return;
    sent.set(messageId, { seq, packet: sent.get(messageId)?.packet });
    if (stored !== undefined) return;
    const body = encodePacket({ ...PUBREL, brokerId: "", brokerCounter: seq, messageId });
    const keys = [packetsKey(client.id)];
    await this.#options.sessions.run(() => ({ keys, args: ["R", String(seq), body] }));
  }

  /** Removes an acknowledged message. @returns the message if {@link RedisQueuesOptions.wantsReceipt} */
  acknowledge(client: { id: string }, messageId: number): KeptPacket | undefined {
    const sent = this.#inFlight.get(client);
    const acknowledged = sent?.get(messageId);
    if (acknowledged === undefined) return undefined;
    sent?.delete(messageId);
    this.#remove(client.id, acknowledged.seq);
    return acknowledged.packet;
  }

  /** Removes a message that was delivered at QoS 0, unless the message is being sent at QoS 1 or 2. */
  dismiss(client: { id: string }, seq: number): void {
    for (const sent of this.#inFlight.get(client)?.values() ?? []) if (sent.seq === seq) return;
    this.#remove(client.id, seq);
  }

  /** The session's messages after the key (all, if the key is empty), oldest first. */
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
        // Dropped or acknowledged meanwhile.
        if (body == null) continue;
        yield { key: seq, packet: keptPacket(body, seq, values[2 * index + 1]) };
      }
      const newest = page.at(-1);
      if (newest === undefined) return;
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

  /**
   * Not awaited: if the removal fails, the message is resent, as QoS 1 permits. At QoS 2, only the PUBREL is resent.
   */
  #remove(clientId: string, seq: number): void {
    const { removals, logger } = this.#options;
    const operation: Operation = { keys: [queueKey(clientId), packetsKey(clientId)], args: ["A", String(seq)] };
    removals
      .run(() => operation)
      .catch((err: unknown) => {
        const fields = { err, ...sessionName(clientId) };
        logger.debug(fields, "acknowledgement could not be stored: the message will be resent");
      });
  }
}

const PUBREL = { cmd: "pubrel", topic: "", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;

function keptPacket(body: Buffer, seq: string, id: Buffer | null | undefined): KeptPacket {
  const packet = decodePacket(body);
  packet.brokerId = LOG_ID;
  packet.brokerCounter = Number(seq);
  if (id == null || packet.cmd !== "publish") return packet;
  // A message with an id was sent before [MQTT-3.3.1-1].
  return { ...packet, messageId: Number(id), dup: true };
}
