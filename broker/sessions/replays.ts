import type { KeptPacket } from "../aedes/packet-codec.ts";

/**
 * Reads of an empty queue before the session becomes live although publications are dispatched during each read: a flood
 * of publications that the session does not receive must not keep it in replay.
 */
const MAX_EMPTY_READS = 1000;
/** Interval at which the replay checks whether the client has been sent everything that was read. */
const POLL_MS = 5;

/** The connection whose queue is replayed. */
interface ReplayClient {
  id: string;
  clean?: boolean;
  closed?: boolean;
}

interface Replay {
  /** Whether new messages are delivered as they are published. Until then they stay in the queue, for the replay. */
  live: boolean;
  /** Messages read from the queue that have not been sent yet. */
  unsent: number;
  /**
   * The number of the last publication of this run that the replay delivers. That publication may still be dispatched
   * when the session is already live.
   */
  upTo: number;
}

interface ReplaysOptions {
  queues: {
    /** The session's unacknowledged messages after the key (all, if the key is empty), oldest first. */
    readAfter(clientId: string, key: string): AsyncIterable<{ key: string; packet: KeptPacket }>;
  };
  /** The id of this run of the broker. */
  brokerId: () => string;
  /** The number of the newest dispatched publication. Publications are dispatched in order. */
  lastDispatched: () => number;
}

/**
 * Sends the queue to a client that has reconnected, in order and before anything newer. Plain Aedes reads the queue
 * once and delivers live messages at the same time, so new messages arrive among old ones. Here a session is either in
 * replay or live. During the replay new messages wait in the queue, so that a client on a slow link reads from disk at
 * its own speed. The session becomes live after a read that finds the queue empty and during which no publication was
 * dispatched: only then is nothing left that a live message could overtake.
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

  /** Whether the queue delivers a message that is published now. */
  holds(client: ReplayClient, brokerCounter: number): boolean {
    if (client.clean === true) return false;
    const replay = this.#replays.get(client);
    return replay === undefined || !replay.live || brokerCounter <= replay.upTo;
  }

  /** A message that was read from the queue is about to be sent. */
  sent(client: ReplayClient): void {
    const replay = this.#replays.get(client);
    if (replay !== undefined && replay.unsent > 0) replay.unsent--;
  }

  async *read(client: ReplayClient): AsyncGenerator<KeptPacket> {
    const { queues, brokerId, lastDispatched } = this.#options;
    const replay: Replay = { live: false, unsent: 0, upTo: 0 };
    this.#replays.set(client, replay);
    let last = "";
    let emptyReads = 0;
    let complete: number;
    do {
      let found = false;
      // Publications are stored concurrently: the queue may contain one while an earlier one is still being stored. The
      // queue is complete up to the last dispatched publication. Reading further could skip the earlier one.
      complete = lastDispatched();
      for await (const { key, packet } of queues.readAfter(client.id, last)) {
        if (packet.brokerId === brokerId() && packet.brokerCounter > complete) break;
        last = key;
        found = true;
        replay.unsent++;
        yield packet;
      }
      // New publications must not overtake the messages that wait in the streams between here and the socket.
      while (replay.unsent > 0 && client.closed !== true) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      emptyReads = found ? 0 : emptyReads + 1;
      // A publication that was dispatched during the read waits in the queue. Live delivery must not overtake it.
    } while (
      client.closed !== true &&
      (emptyReads === 0 || (lastDispatched() > complete && emptyReads < MAX_EMPTY_READS))
    );
    replay.live = true;
    replay.upTo = lastDispatched();
    if (replay.upTo === complete) return;
    // Publications that were dispatched during the last read. Under a flood of publications they may be overtaken.
    for await (const { packet } of queues.readAfter(client.id, last)) {
      if (packet.brokerId === brokerId() && packet.brokerCounter > replay.upTo) return;
      yield packet;
    }
  }
}
