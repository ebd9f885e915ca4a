import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import { sessionName } from "../access/session-names.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";

const PREFIX = "outgoing:";
const END = "outgoing;";
/** When a queue is full this part of it goes at once, so that it is not trimmed at every message. */
const TRIM_PART = 100;

interface OutgoingQueuesOptions {
  db: ClassicLevel<string, Buffer>;
  /** Per session. */
  maxMessages: number;
  /** Per session, as stored. */
  maxBytes: number;
  /** Whether the message is to be handed out when it has been acknowledged; kept in memory until then. */
  wantsReceipt(topic: string): boolean;
  logger: Logger;
}

interface InFlight {
  key: string;
  size: number;
  packet: KeptPacket | undefined;
}

interface Queue {
  messages: number;
  bytes: number;
  /** Sent to the connected client and not acknowledged, by message id. */
  readonly inFlight: Map<number, InFlight>;
  /** Keys up to this one were dropped: a delivery that is still under way must not write its message anew. */
  droppedUpTo: string;
  /** The log has said that it drops. */
  dropping: boolean;
}

/**
 * The messages of QoS 1 and 2 that each persistent session has not acknowledged, on disk, in order.
 *
 * Bounded per session by count and bytes. A full queue drops its **oldest** messages, a hundredth of it at a time: who
 * comes back after a week asks what is now; what was is in the journal. Mosquitto drops the newest, and so shows a
 * client that returns the state of a week ago. Counted in {@link dropped}, and logged once when a queue begins to drop.
 */
export class OutgoingQueues {
  readonly #options: OutgoingQueuesOptions;
  readonly #queues = new Map<string, Queue>();
  /** Writes of one session keep their order, for messages are sent when they are written: else they would overtake each other. */
  readonly #writes = new KeyedQueue();
  /** Being deleted: not to be counted a second time. */
  readonly #deleting = new Set<string>();
  dropped = 0;

  constructor(options: OutgoingQueuesOptions) {
    this.#options = options;
  }

  /** Over all sessions. */
  get totals(): { messages: number; bytes: number } {
    let messages = 0;
    let bytes = 0;
    for (const queue of this.#queues.values()) {
      messages += queue.messages;
      bytes += queue.bytes;
    }
    return { messages, bytes };
  }

  /** Sessions with a queue. */
  clientIds(): IterableIterator<string> {
    return this.#queues.keys();
  }

  async load(): Promise<void> {
    const sessions = new Set<string>();
    for await (const [key, value] of this.#options.db.iterator({ gte: PREFIX, lt: END })) {
      const clientId = decodeURIComponent(key.slice(PREFIX.length, key.indexOf(":", PREFIX.length)));
      const queue = this.#queue(clientId);
      queue.messages++;
      queue.bytes += value.length;
      sessions.add(clientId);
    }
    // The limits may be lower than in the run before.
    for (const clientId of sessions) await this.#trimIfFull(clientId);
  }

  /** Adds one message, of QoS 1 or 2, to the queue of each session, each at its own QoS. */
  async enqueue(sessions: readonly { clientId: string; qos: 0 | 1 | 2 }[], packet: KeptPacket): Promise<void> {
    if (sessions.length === 0) return;
    const values = new Map<number, Buffer>();
    const puts: { type: "put"; key: string; value: Buffer }[] = [];
    for (const { clientId, qos } of sessions) {
      const lower = qos === 2 ? packet.qos : 1;
      let value = values.get(lower);
      if (value === undefined) {
        value = encodePacket({ ...packet, qos: lower });
        values.set(lower, value);
      }
      const queue = this.#queue(clientId);
      queue.messages++;
      queue.bytes += value.length;
      puts.push({ type: "put", key: keyOf(clientId, packet), value });
    }
    try {
      await this.#options.db.batch(puts);
    } catch (error) {
      for (const { clientId, qos } of sessions) {
        const size = values.get(qos === 2 ? packet.qos : 1)?.length ?? 0;
        this.#take(clientId, this.#queue(clientId), size);
      }
      throw error;
    }
    for (const { clientId } of sessions) {
      if (this.#isFull(this.#queue(clientId))) await this.#trimIfFull(clientId);
    }
  }

  /** Enters the message id that a message is about to be sent with. Resolves when it is written, in the order of the calls. */
  send(clientId: string, packet: KeptPacket, messageId: number): Promise<void> {
    return this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      const key = keyOf(clientId, packet);
      // Dropped meanwhile: it is sent, and that is all.
      if (key <= queue.droppedUpTo) return;
      const sent = { ...packet, messageId };
      const value = encodePacket(sent);
      const kept = this.#options.wantsReceipt(packet.topic) ? sent : undefined;
      queue.inFlight.set(messageId, { key, size: value.length, packet: kept });
      await this.#options.db.put(key, value);
    });
  }

  /**
   * The client has a message of QoS 2 (PUBREC): from now on its PUBREL is sent again and not the message.
   * @param stored the PUBREL as it was read from the queue, when it is sent again
   */
  release(clientId: string, messageId: number, stored?: { brokerId: string; brokerCounter: number }): Promise<void> {
    return this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      const sent = queue.inFlight.get(messageId);
      const key = stored === undefined ? sent?.key : keyOf(clientId, stored);
      // Never stored, as a retained message of QoS 2 is not.
      if (key === undefined || key <= queue.droppedUpTo) return;
      const [brokerId = "", counter] = key.split(":").slice(-2);
      const value = encodePacket({ ...PUBREL, brokerId, brokerCounter: Number(counter), messageId });
      if (sent !== undefined) queue.bytes = Math.max(0, queue.bytes - sent.size + value.length);
      queue.inFlight.set(messageId, { key, size: value.length, packet: sent?.packet });
      await this.#options.db.put(key, value);
    });
  }

  /**
   * The client has acknowledged the message: it leaves the queue.
   * @returns the message when it is one that {@link OutgoingQueuesOptions.wantsReceipt} asked for
   */
  async acknowledge(clientId: string, messageId: number): Promise<KeptPacket | undefined> {
    const queue = this.#queues.get(clientId);
    const sent = queue?.inFlight.get(messageId);
    if (queue === undefined || sent === undefined) return undefined;
    queue.inFlight.delete(messageId);
    this.#take(clientId, queue, sent.size);
    this.#deleting.add(sent.key);
    try {
      await this.#options.db.del(sent.key);
    } finally {
      this.#deleting.delete(sent.key);
    }
    return sent.packet;
  }

  /**
   * The client has the message by another of its subscriptions. If that was one of QoS 0, the message would stay in the
   * queue, and come again with the next connection. One that is being sent at QoS 1 or 2 stays until it is acknowledged.
   */
  async dismiss(clientId: string, packet: { brokerId: string; brokerCounter: number }): Promise<void> {
    if (!this.#queues.has(clientId)) return;
    await this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      const key = keyOf(clientId, packet);
      if (this.#deleting.has(key)) return;
      for (const sent of queue.inFlight.values()) if (sent.key === key) return;
      const value = await this.#options.db.get(key);
      if (value === undefined) return;
      this.#take(clientId, queue, value.length);
      await this.#options.db.del(key);
    });
  }

  /** What the session has not acknowledged after the key, oldest first; an empty key is before all. */
  async *readAfter(clientId: string, key: string): AsyncGenerator<{ key: string; packet: KeptPacket }> {
    // Most clients that connect have no queue.
    if (!this.#queues.has(clientId)) return;
    const { gte, lt } = rangeOf(clientId);
    const range = key === "" ? { gte, lt } : { gt: key, lt };
    for await (const [next, value] of this.#options.db.iterator(range))
      yield { key: next, packet: decodePacket(value) };
  }

  /** Empties the session's queue. */
  discard(clientId: string): Promise<void> {
    if (!this.#queues.has(clientId)) return Promise.resolve();
    return this.#writes.run(clientId, async () => {
      this.#queues.delete(clientId);
      await this.#options.db.clear(rangeOf(clientId));
    });
  }

  #queue(clientId: string): Queue {
    let queue = this.#queues.get(clientId);
    if (queue === undefined) {
      queue = { messages: 0, bytes: 0, inFlight: new Map(), droppedUpTo: "", dropping: false };
      this.#queues.set(clientId, queue);
    }
    return queue;
  }

  #isFull({ messages, bytes }: Queue): boolean {
    return messages > this.#options.maxMessages || bytes > this.#options.maxBytes;
  }

  /** Counts one message less; an empty queue needs no entry. */
  #take(clientId: string, queue: Queue, size: number): void {
    queue.messages = Math.max(0, queue.messages - 1);
    queue.bytes = queue.messages === 0 ? 0 : Math.max(0, queue.bytes - size);
    if (queue.messages <= this.#options.maxMessages / 2 && queue.bytes <= this.#options.maxBytes / 2)
      queue.dropping = false;
    if (queue.messages === 0 && queue.inFlight.size === 0 && queue.droppedUpTo === "") this.#queues.delete(clientId);
  }

  #trimIfFull(clientId: string): Promise<void> {
    return this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      if (!this.#isFull(queue)) return;
      const { db, maxMessages, maxBytes, logger } = this.#options;
      if (!queue.dropping) {
        queue.dropping = true;
        const { messages, bytes } = queue;
        logger.warn(
          { ...sessionName(clientId), messages, bytes, maxMessages, maxBytes },
          "the queue of an offline session drops its oldest",
        );
      }
      const messages = trimmed(maxMessages);
      const bytes = trimmed(maxBytes);
      const drops: { type: "del"; key: string }[] = [];
      for await (const [key, value] of db.iterator(rangeOf(clientId))) {
        if (queue.messages <= messages && queue.bytes <= bytes) break;
        if (this.#deleting.has(key)) continue;
        const { messageId } = decodePacket(value);
        if (messageId !== undefined && queue.inFlight.get(messageId)?.key === key) queue.inFlight.delete(messageId);
        queue.messages = Math.max(0, queue.messages - 1);
        queue.bytes = Math.max(0, queue.bytes - value.length);
        queue.droppedUpTo = key;
        this.dropped++;
        drops.push({ type: "del", key });
      }
      await db.batch(drops);
    });
  }
}

const PUBREL = { cmd: "pubrel", topic: "", payload: Buffer.alloc(0), qos: 1, retain: false, dup: false } as const;

function trimmed(limit: number): number {
  return Number.isFinite(limit) ? limit - Math.floor(limit / TRIM_PART) : limit;
}

/** Every key of a session lies between its prefix and the next character after ':'; an id cannot hold a bare ':'. */
function rangeOf(clientId: string): { gte: string; lt: string } {
  const id = encodeURIComponent(clientId);
  return { gte: `${PREFIX}${id}:`, lt: `${PREFIX}${id};` };
}

/** Sorts by the broker's run, then by the order within it: 16 digits hold every safe integer. */
function keyOf(clientId: string, { brokerId, brokerCounter }: { brokerId: string; brokerCounter: number }): string {
  return `${PREFIX}${encodeURIComponent(clientId)}:${brokerId}:${String(brokerCounter).padStart(16, "0")}`;
}
