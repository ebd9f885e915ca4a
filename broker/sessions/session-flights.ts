import type { LoggedPublication } from "../../platform/publication-log.ts";
import { POSITION_IDS } from "../aedes/message-ids.ts";

/** In a stored session: the publication has not been sent, and gets its usual message id when it is. */
export const NOT_SENT_ID = 0;

/** A publication that was sent to the client, until the client has acknowledged it. */
export interface Flight {
  readonly position: number;
  readonly qos: 1 | 2;
  messageId: number;
  /**
   * - `sent`: the client has not answered, or the publication is about to be sent.
   * - `releasing`: PUBREC has arrived, and is not durable yet.
   * - `released`: PUBREC is durable. The client gets PUBREL, and not the publication again.
   */
  state: "sent" | "releasing" | "released";
  /** Whether it was sent to an earlier connection too. */
  isRepeated: boolean;
  /** Kept for a receipt. */
  publication: LoggedPublication | undefined;
}

/** As it is stored: position, QoS, 1 if released, and the message id if it is not the usual one. */
export type StoredFlight = [position: number, qos: 1 | 2, released: 0 | 1, messageId?: number | undefined];

/** The publications that the client of a session has not acknowledged, in order of position. */
export class SessionFlights {
  readonly #open = new Map<number, Flight>();
  readonly #byId = new Map<number, Flight>();
  /** The flights that the connection has to send again. */
  readonly #resend = new Map<number, Flight>();
  readonly #onChange: () => void;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get size(): number {
    return this.#open.size;
  }

  /** The lowest position that the log must keep. */
  get lowest(): number | undefined {
    // A released publication is needed until its release is durable: otherwise it would be sent again.
    for (const { position, state } of this.#open.values()) if (state !== "released") return position;
    return undefined;
  }

  /** PUBRELs are sent in the order of the PUBRECs, some of which may not be durable yet [MQTT-4.6.0-4]. */
  get isReleasing(): boolean {
    for (const { state } of this.#open.values()) if (state === "releasing") return true;
    return false;
  }

  at(position: number): Flight | undefined {
    return this.#open.get(position);
  }

  withId(messageId: number): Flight | undefined {
    return this.#byId.get(messageId);
  }

  /** Whether fewer than `window` are under way, and the publication's message id is free. */
  mayAdd(position: number, window: number): boolean {
    return this.#byId.size < window && !this.#byId.has(messageIdOf(position));
  }

  /** @param publication kept for a receipt */
  add(
    position: number,
    qos: 1 | 2,
    state: Flight["state"],
    publication: LoggedPublication | undefined,
    messageId = messageIdOf(position),
  ): Flight {
    const flight: Flight = { position, qos, messageId, state, isRepeated: false, publication };
    this.#open.set(position, flight);
    if (messageId !== NOT_SENT_ID) this.#byId.set(messageId, flight);
    return flight;
  }

  /** The publication gets its usual message id, because it is sent for the first time. */
  giveId(flight: Flight): void {
    flight.messageId = messageIdOf(flight.position);
    this.#byId.set(flight.messageId, flight);
  }

  close(flight: Flight): void {
    this.#open.delete(flight.position);
    this.#byId.delete(flight.messageId);
    this.#resend.delete(flight.position);
    this.#onChange();
  }

  /** A new connection has to send again what is not released. @returns the message ids of what is released */
  beginAgain(): number[] {
    const released: number[] = [];
    for (const flight of this.#open.values()) {
      if (flight.state === "released") released.push(flight.messageId);
      else this.#resend.set(flight.position, flight);
    }
    return released;
  }

  isToResend(position: number): boolean {
    return this.#resend.has(position);
  }

  /** The publication is sent again, or need not be. */
  resent(position: number): void {
    this.#resend.delete(position);
  }

  /** The connection has ended. */
  endResending(): void {
    this.#resend.clear();
  }

  /**
   * Closes what had to be sent again, up to and including the position, and is not in the log any more: it was
   * acknowledged after the record was stored, or was given up.
   */
  passOver(position: number): void {
    for (const flight of this.#resend.values()) {
      if (flight.position > position) return;
      this.close(flight);
    }
  }

  /** Closes what the log does not have any more. @returns how many publications the client may not have */
  giveUp(position: number): number {
    let count = 0;
    for (const flight of [...this.#open.values()]) {
      if (flight.position > position || flight.state === "released") continue;
      count++;
      // The client may hold the message id: the next connection frees it with PUBREL.
      if (flight.qos === 2) flight.state = "released";
      else this.close(flight);
    }
    if (count > 0) this.#onChange();
    return count;
  }

  /** The positions of what was sent and may have to be sent again. */
  *unacknowledged(): Generator<number> {
    for (const { position, state } of this.#open.values()) if (state !== "released") yield position;
  }

  record(): StoredFlight[] {
    const open: StoredFlight[] = [];
    for (const { position, qos, state, messageId } of this.#open.values()) {
      const released = state === "sent" ? 0 : 1;
      if (messageId === messageIdOf(position)) open.push([position, qos, released]);
      else open.push([position, qos, released, messageId]);
    }
    return open;
  }
}

/**
 * Message ids are a function of the position: after a crash, a redelivery has its original id although the id was never
 * stored. A client that has received a QoS 2 publication, whose record was lost in a crash and which may not be delivered
 * any more, holds an id of which this server does not know; so the next publication with this id, 60,000 positions later,
 * would be a repetition for the client. And an outdated record whose PUBREL is sent again would end that publication at
 * the client, which then gets it twice.
 */
export function messageIdOf(position: number): number {
  return 1 + (position % POSITION_IDS);
}
