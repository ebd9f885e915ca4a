import type { KeptPacket } from "../aedes/packet-codec.ts";

/** How often a look is taken whether the client has been sent all that was read for it. */
const POLL_MS = 5;

/** The connection whose queue is replayed. */
interface ReplayClient {
  id: string;
  clean?: boolean;
  closed?: boolean;
}

interface Replay {
  /** Messages go to the client as they are published. Before, they are left in the queue, where the replay finds them. */
  live: boolean;
  /** Read from the queue and not yet handed to the client. */
  unsent: number;
  /** The newest publication of this run that the queue brings, though its turn to be delivered may come when live. */
  upTo: number;
}

interface ReplaysOptions {
  queues: {
    /** What the session has not acknowledged after the key, oldest first; an empty key is before all. */
    readAfter(clientId: string, key: string): AsyncIterable<{ key: string; packet: KeptPacket }>;
  };
  /** The name of this run of the broker. */
  brokerId: () => string;
  /** The newest publication that was handed to subscriptions; they are handed on in order. */
  lastDispatched: () => number;
}

/**
 * Sends a returning client what its queue holds, in order and before anything newer. Aedes reads the queue once and
 * delivers live messages meanwhile: the newest come first, in the middle of the oldest. Here a session is either
 * replayed or live. While it is replayed new messages wait in the queue, so that a client on a slow link reads from disk
 * at its own pace; when the queue has been read to its end, the session becomes live at a known publication.
 *
 * ```
 *  connect ─▶ replay ──(all that was read is sent)──▶ live, but for the rest up to that publication ──▶ live
 * ```
 */
export class Replays {
  readonly #options: ReplaysOptions;
  readonly #replays = new WeakMap<object, Replay>();

  constructor(options: ReplaysOptions) {
    this.#options = options;
  }

  /** Whether a message that is published now must be left to the client's queue. */
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
    let found: boolean;
    do {
      found = false;
      // Publications are stored side by side, so the queue may show one while an earlier one is still on its way into
      // it; what was handed on is there, and all before it. Nothing beyond is read, or the earlier one were missed.
      const complete = lastDispatched();
      for await (const { key, packet } of queues.readAfter(client.id, last)) {
        if (packet.brokerId === brokerId() && packet.brokerCounter > complete) break;
        last = key;
        found = true;
        replay.unsent++;
        yield packet;
      }
      // What is published now must not overtake what waits in the streams between here and the socket.
      while (replay.unsent > 0 && client.closed !== true) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    } while (found && client.closed !== true);
    replay.live = true;
    replay.upTo = lastDispatched();
    // Handed on since the queue was read last, and left to it.
    for await (const { packet } of queues.readAfter(client.id, last)) {
      if (packet.brokerId === brokerId() && packet.brokerCounter > replay.upTo) return;
      yield packet;
    }
  }
}
