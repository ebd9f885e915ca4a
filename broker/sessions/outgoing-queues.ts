import type { ClassicLevel } from "classic-level";
import type { Logger } from "pino";
import { KeyedQueue } from "../../platform/keyed-queue.ts";
import { sessionName } from "../access/session-names.ts";
import { decodePacket, encodePacket, type KeptPacket } from "../aedes/packet-codec.ts";

const PREFIX = "outgoing:";
const END = "outgoing;";
/** A full queue drops a hundredth of its limit at once, and is not trimmed at every message. */
const TRIM_DIVISOR = 100;

interface OutgoingQueuesOptions {
  db: ClassicLevel<string, Buffer>;
  /** Per session. */
  maxMessages: number;
  /** Per session, in stored form. */
  maxBytes: number;
  /** Whether {@link OutgoingQueues.acknowledge} returns the message, which stays in memory until then. */
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
  /** Messages sent and not acknowledged, by message id. */
  readonly inFlight: Map<number, InFlight>;
  /** The last dropped key. A delivery in progress must not write a message with this key or an earlier one again. */
  droppedUpTo: string;
  /** Whether it has been logged that the queue drops messages. */
  dropping: boolean;
}

/**
 * The messages of QoS 1 and 2 that each persistent session has not acknowledged, on disk, in order. A full queue drops
 * its **oldest** messages: a client that reconnects after a week needs the present state, and the journal has the past.
 * (Mosquitto drops the newest messages.)
 */
export class OutgoingQueues {
  readonly #options: OutgoingQueuesOptions;
  readonly #queues = new Map<string, Queue>();
  /** Keeps each session's writes in order, because a message is sent when its write is done. */
  readonly #writes = new KeyedQueue();
  /** Keys that are being deleted: they must not be counted twice. */
  readonly #deleting = new Set<string>();
  dropped = 0;

  constructor(options: OutgoingQueuesOptions) {
    this.#options = options;
  }

  /** The sum over all sessions. */
  get totals(): { messages: number; bytes: number } {
    let messages = 0;
    let bytes = 0;
    for (const queue of this.#queues.values()) {
      messages += queue.messages;
      bytes += queue.bytes;
    }
    return { messages, bytes };
  }

  clientIds(): IterableIterator<string> {
    return this.#queues.keys();
  }

  async load(): Promise<void> {
    for await (const [key, value] of this.#options.db.iterator({ gte: PREFIX, lt: END })) {
      const clientId = decodeURIComponent(key.slice(PREFIX.length, key.indexOf(":", PREFIX.length)));
      const queue = this.#queue(clientId);
      queue.messages++;
      queue.bytes += value.length;
    }
    // The limits may be lower than in the previous run.
    for (const clientId of [...this.#queues.keys()]) await this.#trimIfFull(clientId);
  }

  /** Adds a message of QoS 1 or 2 to the queue of each session, with the session's QoS. */
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
        this.#countRemoved(clientId, this.#queue(clientId), size);
      }
      throw error;
    }
    for (const { clientId } of sessions) {
      if (this.#isFull(this.#queue(clientId))) await this.#trimIfFull(clientId);
    }
  }

  /** Stores the id of a message that is about to be sent. Resolves in the order of calls. */
  send(clientId: string, packet: KeptPacket, messageId: number): Promise<void> {
    return this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      const key = keyOf(clientId, packet);
      // A message that has been dropped meanwhile is sent, but not stored again.
      if (key <= queue.droppedUpTo) return;
      const sent = { ...packet, messageId };
      const value = encodePacket(sent);
      const kept = this.#options.wantsReceipt(packet.topic) ? sent : undefined;
      queue.inFlight.set(messageId, { key, size: value.length, packet: kept });
      await this.#options.db.put(key, value);
    });
  }

  /**
   * The client has received a message of QoS 2 (PUBREC). The PUBREL replaces the message.
   * @param stored the PUBREL from the queue, when it is being resent
   */
  release(clientId: string, messageId: number, stored?: { brokerId: string; brokerCounter: number }): Promise<void> {
    return this.#writes.run(clientId, async () => {
      const queue = this.#queue(clientId);
      const sent = queue.inFlight.get(messageId);
      const key = stored === undefined ? sent?.key : keyOf(clientId, stored);
      // The message is not in the queue. It may be a retained message of QoS 2, for example.
      if (key === undefined || key <= queue.droppedUpTo) return;
      const [brokerId = "", counter] = key.split(":").slice(-2);
      const value = encodePacket({ ...PUBREL, brokerId, brokerCounter: Number(counter), messageId });
      if (sent !== undefined) queue.bytes = Math.max(0, queue.bytes - sent.size + value.length);
      queue.inFlight.set(messageId, { key, size: value.length, packet: sent?.packet });
      await this.#options.db.put(key, value);
    });
  }

  /** Removes an acknowledged message. @returns the message if {@link OutgoingQueuesOptions.wantsReceipt} */
  async acknowledge(clientId: string, messageId: number): Promise<KeptPacket | undefined> {
    const queue = this.#queues.get(clientId);
    const sent = queue?.inFlight.get(messageId);
    if (queue === undefined || sent === undefined) return undefined;
    queue.inFlight.delete(messageId);
    this.#countRemoved(clientId, queue, sent.size);
    this.#deleting.add(sent.key);
    try {
      await this.#options.db.del(sent.key);
    } finally {
      this.#deleting.delete(sent.key);
    }
    return sent.packet;
  }

  /**
   * Removes a message that another subscription of the client has delivered at QoS 0: the message would be delivered
   * again at the next connection. A message that is being sent at QoS 1 or 2 stays until it is acknowledged.
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
      this.#countRemoved(clientId, queue, value.length);
      await this.#options.db.del(key);
    });
  }

  /** The session's messages after the key (all, if the key is empty), oldest first. */
  async *readAfter(clientId: string, key: string): AsyncGenerator<{ key: string; packet: KeptPacket }> {
    // Most connecting clients have no queue.
    if (!this.#queues.has(clientId)) return;
    const { gte, lt } = rangeOf(clientId);
    const range = key === "" ? { gte, lt } : { gt: key, lt };
    for await (const [next, value] of this.#options.db.iterator(range))
      yield { key: next, packet: decodePacket(value) };
  }

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

  /** Subtracts a removed message from the counts. Removes an empty queue from memory. */
  #countRemoved(clientId: string, queue: Queue, size: number): void {
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
        const fields = { ...sessionName(clientId), messages, bytes, maxMessages, maxBytes };
        logger.warn(fields, "session queue full: oldest messages dropped");
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
  return Number.isFinite(limit) ? limit - Math.floor(limit / TRIM_DIVISOR) : limit;
}

/** An encoded id contains no ':'. */
function rangeOf(clientId: string): { gte: string; lt: string } {
  const id = encodeURIComponent(clientId);
  return { gte: `${PREFIX}${id}:`, lt: `${PREFIX}${id};` };
}

/** Keys sort by the broker's run, then by the order within the run. */
function keyOf(clientId: string, { brokerId, brokerCounter }: { brokerId: string; brokerCounter: number }): string {
  return `${PREFIX}${encodeURIComponent(clientId)}:${brokerId}:${String(brokerCounter).padStart(16, "0")}`;
}
