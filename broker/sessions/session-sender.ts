import { hasExpired, type LoggedPublication } from "../../platform/publication-log.ts";
import type { SessionConnection, SessionCursorOptions } from "./session-delivery.ts";
import type { SessionFilters } from "./session-filters.ts";
import { type Flight, NOT_SENT_ID, type SessionFlights } from "./session-flights.ts";

/** Sends publications to the client of a session, within its window, and one after the other within its connection. */
export class SessionSender {
  readonly #options: SessionCursorOptions;
  readonly #filters: SessionFilters;
  readonly #flights: SessionFlights;
  readonly #onWritten: () => void;
  #connection: SessionConnection | undefined;
  #unwritten = 0;

  /** @param onWritten called when the connection may have room again */
  constructor(
    options: SessionCursorOptions,
    { filters, flights }: { filters: SessionFilters; flights: SessionFlights },
    onWritten: () => void,
  ) {
    this.#options = options;
    this.#filters = filters;
    this.#flights = flights;
    this.#onWritten = onWritten;
  }

  get connection(): SessionConnection | undefined {
    return this.#connection;
  }

  /** From now on, publications go to this connection. Undefined: the client has disconnected. */
  set connection(connection: SessionConnection | undefined) {
    this.#connection = connection;
    this.#unwritten = 0;
  }

  /** Whether the client may get the publication now, for the first time. */
  isFor(connection: SessionConnection, publication: LoggedPublication): boolean {
    return !hasExpired(publication, this.#options.now) && connection.mayReceive(publication);
  }

  /** Whether the connection takes another publication. */
  hasRoom(connection: SessionConnection): boolean {
    return this.#unwritten < this.#options.maxUnwritten && !connection.isFull;
  }

  /** Sends a publication for the first time. @returns false, and sends nothing, when there is no room */
  sendNew(connection: SessionConnection, publication: LoggedPublication, qos: 1 | 2): boolean {
    const { position } = publication;
    if (!this.hasRoom(connection) || !this.#mayOpen(position)) return false;
    this.#send(connection, this.#flights.add(position, qos, "sent", this.#forReceipt(publication)), publication, false);
    return true;
  }

  /**
   * Sends a publication that an earlier connection has sent, although it may have expired since: what was begun is
   * completed [MQTT-4.4.0-1]. @returns false, and sends nothing, when there is no room
   */
  sendAgain(connection: SessionConnection, publication: LoggedPublication, flight: Flight): boolean {
    if (!this.hasRoom(connection)) return false;
    flight.isRepeated = flight.messageId !== NOT_SENT_ID;
    if (!flight.isRepeated) {
      if (!this.#mayOpen(flight.position)) return false;
      this.#flights.giveId(flight);
      flight.publication = this.#forReceipt(publication);
    }
    this.#flights.resent(flight.position);
    this.#send(connection, flight, publication, flight.isRepeated);
    return true;
  }

  /** Whether the window has room, and the message id is free. */
  #mayOpen(position: number): boolean {
    return this.#flights.mayAdd(position, this.#options.window);
  }

  #send(connection: SessionConnection, flight: Flight, publication: LoggedPublication, dup: boolean): void {
    this.#unwritten++;
    const onWritten = () => {
      if (connection !== this.#connection) return;
      this.#unwritten--;
      this.#onWritten();
    };
    this.#options.onChange();
    const { qos, messageId } = flight;
    const retain = this.#filters.retains(publication);
    const identifiers = this.#filters.identifiersOf(publication);
    connection.send({ publication, qos, messageId, dup, retain, identifiers, onWritten });
  }

  #forReceipt(publication: LoggedPublication): LoggedPublication | undefined {
    return this.#options.wantsReceipt(publication.topic) ? publication : undefined;
  }
}
