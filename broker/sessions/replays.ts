import type { KeptPacket } from "../aedes/packet-codec.ts";
import type { Session } from "./storage.ts";

/**
 * After this many consecutive reads of an empty queue, the session becomes live even if publications were dispatched
 * during each read: a flood of publications for other sessions must not keep this one in replay.
 */
const MAX_EMPTY_READS = 1000;
/** Interval at which the replay checks whether everything that was read has been sent. */
const POLL_MS = 5;

interface Replay {
  /** Whether new messages are delivered as they are published. Until then, they wait in the queue. */
  live: boolean;
  /** Messages that were read and are not sent yet. */
  unsent: number;
  /**
   * The number of a publication. The replay delivers the publications up to this one from the queue, even after the
   * session becomes live.
   */
  upTo: number;
}

interface ReplaysOptions {
  queues: {
    /** The session's messages after the key (all, if the key is empty), oldest first. */
    readAfter(clientId: string, key: string): AsyncIterable<{ key: string; packet: KeptPacket }>;
  };
  brokerId: () => string;
  /** The number of the newest dispatched publication. Publications are dispatched in order. */
  lastDispatched: () => number;
}

/**
 * Sends the queue to a client that has reconnected, in order and before anything newer. (Plain Aedes delivers new
 * messages among the queued ones.) During the replay, new messages wait in the queue, so that a client on a slow link
 * reads from disk at its own speed. The session becomes live after a read that finds the queue empty and during which
 * no publication was dispatched: then there is no queued message that a live one could overtake.
 *
 * ```
 *  connect ─▶ replay: read, send, read again ──(an empty read, nothing dispatched during it)──▶ live
 * ```
 */
export class Replays {
  readonly #options: ReplaysOptions;
  readonly #replays = new WeakMap<object, Replay>();

  constructor(options: ReplaysOptions) {
    this.#options = options;
  }

  /** Whether the replay delivers this publication. */
  holds(client: Session, brokerCounter: number): boolean {
    if (client.clean === true) return false;
    const replay = this.#replays.get(client);
    return replay === undefined || !replay.live || brokerCounter <= replay.upTo;
  }

  /** A message from the queue is about to be sent. */
  sent(client: Session): void {
    const replay = this.#replays.get(client);
    if (replay !== undefined && replay.unsent > 0) replay.unsent--;
  }

  async *read(client: Session): AsyncGenerator<KeptPacket> {
    const { queues, brokerId, lastDispatched } = this.#options;
    const replay: Replay = { live: false, unsent: 0, upTo: 0 };
    this.#replays.set(client, replay);
    let last = "";
    let emptyReads = 0;
    let complete: number;
    do {
      let found = false;
      // The queue is complete only up to the last dispatched publication. A later publication may be stored before an
      // earlier one, so reading further could skip the earlier one.
      complete = lastDispatched();
      for await (const { key, packet } of queues.readAfter(client.id, last)) {
        if (packet.brokerId === brokerId() && packet.brokerCounter > complete) break;
        last = key;
        found = true;
        replay.unsent++;
        yield packet;
      }
      // New publications must not overtake the messages in the streams between here and the socket.
      while (replay.unsent > 0 && client.closed !== true) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      emptyReads = found ? 0 : emptyReads + 1;
      // A live message must not overtake a publication that was dispatched during the read and waits in the queue.
    } while (
      client.closed !== true &&
      (emptyReads === 0 || (lastDispatched() > complete && emptyReads < MAX_EMPTY_READS))
    );
    replay.live = true;
    replay.upTo = lastDispatched();
    if (replay.upTo === complete) return;
    // Sends the publications that were dispatched during the last read. In a flood, live messages may overtake them.
    for await (const { packet } of queues.readAfter(client.id, last)) {
      if (packet.brokerId === brokerId() && packet.brokerCounter > replay.upTo) return;
      yield packet;
    }
  }
}
