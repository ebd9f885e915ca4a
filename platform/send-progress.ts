import type { Duplex } from "node:stream";
import { askUnacknowledged } from "./tcp-queues.ts";

/** What Node.js has below a socket. Below the handle of a TLS connection is the handle of its TCP connection. */
interface Handle {
  /** Bytes of the write in progress that the operating system has not accepted yet. */
  writeQueueSize?: number;
  /** The file descriptor, or -1. */
  fd?: number;
  _parent?: Handle | null;
}

interface HandledSocket extends Duplex {
  _handle?: Handle | null;
}

/** The longest time until the kernel is asked for its queue. */
const MAX_ASK_MS = 3_000;

/**
 * Measures for how long the peer of a socket has read nothing. Three queues show less and less of it:
 *
 * 1. `writableLength`: Node.js writes everything that is queued at once, and counts it as unsent until the last byte is
 *    accepted. With 256 KiB queued, this takes a client that reads 2 KiB/s two minutes.
 * 2. `writeQueueSize` counts what the kernel has not accepted. The kernel accepts more when a third of its own buffer is
 *    free: with a buffer of 460 KB, as a link that has become slow may have, this takes such a client more than a minute.
 * 3. The kernel's buffer, on Linux. It becomes shorter with each acknowledgement of the peer.
 *
 * This class sees progress in the second queue, and, while there is none, in the third.
 */
export class SendProgress {
  readonly #socket: HandledSocket;
  readonly #askMs: number;
  #unsentBytes = 0;
  /** The bytes in the kernel's buffer, when it was last asked. */
  #heldBytes = Number.POSITIVE_INFINITY;
  #hasProgress = false;
  #progressAt = 0;

  /**
   * @param socket the raw socket, below any WebSocket
   * @param timeoutMs how long the peer may read nothing
   */
  constructor(socket: Duplex, timeoutMs: number) {
    this.#socket = socket;
    this.#askMs = Math.min(MAX_ASK_MS, timeoutMs / 10);
  }

  /**
   * How long the peer has read nothing, as seen by the calls of this method, milliseconds; 0 when nothing is unsent.
   * @param now by a clock that is never set
   */
  stalledMs(now: number): number {
    const handle = this.#socket.writableLength === 0 ? undefined : tcpHandleOf(this.#socket);
    const unsentBytes = handle?.writeQueueSize ?? this.#socket.writableLength;
    if (unsentBytes === 0 || unsentBytes !== this.#unsentBytes || this.#hasProgress) this.#progressAt = now;
    else if (handle?.fd !== undefined) askUnacknowledged(handle.fd, this.#askMs, this.#onHeld);
    this.#hasProgress = false;
    this.#unsentBytes = unsentBytes;
    return now - this.#progressAt;
  }

  readonly #onHeld = (bytes: number): void => {
    this.#hasProgress ||= bytes < this.#heldBytes && this.#heldBytes !== Number.POSITIVE_INFINITY;
    this.#heldBytes = bytes;
  };
}

function tcpHandleOf({ _handle }: HandledSocket): Handle | undefined {
  let handle = _handle;
  while (handle?._parent) handle = handle._parent;
  return handle ?? undefined;
}
