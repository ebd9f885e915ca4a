import type { LoggedPublication } from "../../platform/publication-log.ts";
import type { FilterOptions } from "../access/filter-options.ts";
import { SessionBacklog } from "./session-backlog.ts";
import type { CursorRecord, SessionConnection, SessionCursorOptions } from "./session-delivery.ts";
import { SessionFilters } from "./session-filters.ts";
import { SessionFlights } from "./session-flights.ts";
import { SessionSender } from "./session-sender.ts";

/**
 * A persistent MQTT session: a place in the log of publications, and its filters.
 *
 * ```
 *  away ──connect──▶ starting ──PUBRELs are sent──▶ behind ──everything is read──▶ live
 *   ▲                   │                           │   ▲                            │
 *   │                   │                           │   └──window or socket is full──┤
 *   └───────────────────┴────connection closed──────┴────────────────────────────────┘
 * ```
 *
 * One pump sends everything: what an earlier connection did not acknowledge, the backlog, and live publications. A
 * session that is behind reads the log; a live session is offered each publication. So the order of the log is the order
 * of the deliveries, and nothing is sent by a second way.
 *
 * The class knows neither Aedes nor the disk. Its owner stores the {@link record}: before SUBACK, before PUBREL, and
 * otherwise soon. An outdated record leads to repetitions at QoS 1, and never to a loss.
 */
export class SessionCursor {
  readonly #options: SessionCursorOptions;
  readonly #filters: SessionFilters;
  /** The publications that were sent and are not acknowledged. */
  readonly flights: SessionFlights;
  /** While the session is live, the edge has the place of this field. */
  #sent: number;
  #state: "away" | "starting" | "behind" | "live" = "away";
  readonly #sender: SessionSender;
  /** The newest connection, even after its end: its acknowledgements may be processed later. */
  #newest: SessionConnection | undefined;
  readonly #backlog: SessionBacklog;
  #isDeferred = false;
  #isPumping = false;

  constructor(record: CursorRecord, options: SessionCursorOptions) {
    this.#options = options;
    this.flights = new SessionFlights(options.onChange);
    this.#backlog = new SessionBacklog(options);
    const edge = options.edge();
    // The positions of an older copy of the log may be above those of the log.
    this.#sent = Math.min(record.sent, edge);
    this.#filters = new SessionFilters(options.key, record.filters, edge);
    this.#sender = new SessionSender(options, { filters: this.#filters, flights: this.flights }, () => this.#pump());
    for (const [position, qos, released, messageId] of record.open) {
      if (position > edge && released === 0) continue;
      this.flights.add(position, qos, released === 1 ? "released" : "sent", undefined, messageId);
    }
  }

  get #connection(): SessionConnection | undefined {
    return this.#sender.connection;
  }

  get filters(): SessionFilters["all"] {
    return this.#filters.all;
  }

  get isLive(): boolean {
    return this.#state === "live";
  }

  get isAway(): boolean {
    return this.#state === "away";
  }

  get open(): number {
    return this.flights.size;
  }

  /** Everything up to this position was sent at least once, or is not for this session. */
  get sent(): number {
    return this.#state === "live" ? this.#options.edge() : this.#sent;
  }

  /** The session does not need publications up to and including this position. */
  get floor(): number {
    const { lowest } = this.flights;
    return lowest === undefined ? this.sent : Math.min(lowest - 1, this.sent);
  }

  unacknowledged(): Iterable<number> {
    return this.flights.unacknowledged();
  }

  record(): CursorRecord {
    return { sent: this.sent, open: this.flights.record(), filters: this.#filters.record() };
  }

  /** From now on, publications of the filter are for this session. Call this when SUBSCRIBE arrives. */
  subscribe(filter: string, options: FilterOptions): void {
    if (this.#filters.add(filter, options, this.#options.edge())) this.#options.onChange();
  }

  unsubscribe(filter: string): void {
    if (this.#filters.delete(filter)) this.#options.onChange();
  }

  /** The QoS of the session's delivery of the publication; 0 when the session does not get the publication. */
  qosOf(publication: Pick<LoggedPublication, "topic" | "position" | "qos" | "publisher">): 0 | 1 | 2 {
    return this.#filters.qosOf(publication);
  }

  /** Whether the connection is the session's newest one, which may have ended. */
  isNewest(connection: SessionConnection): boolean {
    return connection === this.#newest;
  }

  /**
   * The client has connected. A connection that is still open is replaced.
   * @returns the message ids of the PUBRELs that the client must get before {@link start} is called
   */
  connect(connection: SessionConnection): number[] {
    if (this.#connection !== undefined) this.disconnect(this.#connection);
    this.#sender.connection = connection;
    this.#newest = connection;
    this.#state = "starting";
    const released = this.flights.beginAgain();
    this.#backlog.next = this.floor;
    return released;
  }

  /** The PUBRELs have been sent: publications follow. */
  start(connection: SessionConnection): void {
    if (connection !== this.#connection || this.#state !== "starting") return;
    this.#state = "behind";
    this.#pump();
  }

  disconnect(connection: SessionConnection): void {
    if (connection !== this.#connection) return;
    const wasLive = this.isLive;
    this.#sent = this.sent;
    this.#state = "away";
    this.#sender.connection = undefined;
    this.#backlog.current = undefined;
    this.flights.endResending();
    if (wasLive) this.#options.onParked?.();
    this.#options.onChange();
  }

  /** Offers the next publication of the log to a live session. @param granted by all filters, with or without `noLocal` */
  offer(publication: LoggedPublication, granted: 1 | 2): void {
    const connection = this.#connection;
    if (this.#state !== "live" || connection === undefined) return;
    const { position } = publication;
    const qos = this.#filters.mayBeLocal(publication) ? this.qosOf(publication) : granted;
    if (qos === 0 || this.flights.at(position) !== undefined || !this.#sender.isFor(connection, publication)) return;
    if (this.#sender.sendNew(connection, publication, qos)) return;
    this.#state = "behind";
    this.#sent = position - 1;
    this.#backlog.next = position - 1;
    this.#options.onParked?.();
    this.#options.onChange();
  }

  /** The connection may have room again. */
  wake(): void {
    this.#pump();
  }

  /**
   * PUBACK or PUBCOMP has arrived.
   * @returns the publication, if its topic wants a receipt and this run of the broker has sent it
   */
  acknowledge(connection: SessionConnection, messageId: number): LoggedPublication | undefined {
    // The client of a replaced connection gets everything again that it had not acknowledged.
    if (connection !== this.#newest) return undefined;
    const flight = this.flights.withId(messageId);
    if (flight === undefined) return undefined;
    this.flights.close(flight);
    this.#pump();
    return flight.publication;
  }

  /**
   * PUBREC has arrived. Store the record, and then call the returned function and send PUBREL.
   * @returns undefined when PUBREL may be sent at once
   */
  receive(connection: SessionConnection, messageId: number): (() => void) | undefined {
    const flight = this.flights.withId(messageId);
    if (connection !== this.#newest || flight?.qos !== 2) return undefined;
    if (flight.state === "released") return this.flights.isReleasing ? () => {} : undefined;
    flight.state = "releasing";
    this.flights.resent(flight.position);
    this.#options.onChange();
    return () => {
      // A newer connection sends the publication again and gets another PUBREC. Until then it must stay in the log.
      if (connection === this.#newest) flight.state = "released";
    };
  }

  /** The delivery of the publication has been refused, so that the client will not acknowledge it. */
  refused(position: number): void {
    const flight = this.flights.at(position);
    if (flight === undefined) return;
    // The client may hold the message id of an earlier delivery: the next connection frees it with PUBREL.
    if (flight.qos === 2 && flight.isRepeated) {
      flight.state = "released";
      this.#options.onChange();
    } else this.flights.close(flight);
    this.#pump();
  }

  /**
   * Passes over publications, up to and including the position, that have not been sent: no longer kept, or not for
   * this session. The record need not be stored for that.
   */
  skipTo(position: number): void {
    if (this.#state !== "live") this.#sent = Math.max(this.#sent, Math.min(position, this.#options.edge()));
  }

  /**
   * Closes what was sent and not acknowledged up to the position, because the log does not have it any more. Only for a
   * session without a connection. @returns how many publications the client may not have
   */
  giveUp(position: number): number {
    return this.#state === "away" ? this.flights.giveUp(position) : 0;
  }

  #pump(): void {
    const connection = this.#connection;
    if (this.#state !== "behind" || connection === undefined) return;
    // A pump that sends finds out by itself that there is more room.
    if (this.#isPumping || this.#backlog.isReading || this.#isDeferred) return;
    this.#isPumping = true;
    const isPageDone = this.#sendNext(connection);
    this.#isPumping = false;
    if (connection !== this.#connection) this.#pump();
    else if (isPageDone && this.#backlog.next >= this.#options.edge()) this.#goLive();
    else if (isPageDone) this.#later();
  }

  /** @returns whether everything up to the next position of the log was sent */
  #sendNext(connection: SessionConnection): boolean {
    let { current } = this.#backlog;
    if (current === undefined) {
      if (this.#backlog.next >= this.#options.edge()) return true;
      current = this.#backlog.begin();
    }
    if (current !== undefined) return this.#sendPage(connection, current);
    // A page that is read for an earlier connection begins elsewhere.
    const isWanted = () => connection === this.#connection && this.#state === "behind";
    void this.#backlog.read(isWanted, () => this.#pump());
    return false;
  }

  #goLive(): void {
    this.flights.passOver(this.#options.edge());
    this.#state = "live";
  }

  /** Continues in a later turn of the event loop, so that a long backlog does not keep others waiting. */
  #later(): void {
    this.#isDeferred = true;
    (this.#options.defer ?? setImmediate)(() => {
      this.#isDeferred = false;
      this.#pump();
    });
  }

  /** @returns false when the window or the connection is full, or the connection has ended */
  #sendPage(connection: SessionConnection, current: NonNullable<SessionBacklog["current"]>): boolean {
    const { publications, next } = current.page;
    const edge = this.#options.edge();
    for (; current.at < publications.length; current.at++) {
      const publication = publications[current.at];
      if (publication === undefined || publication.position > edge) break;
      const { position } = publication;
      this.flights.passOver(position - 1);
      const open = this.flights.at(position);
      if (open !== undefined) {
        if (!this.flights.isToResend(position)) continue;
        if (!this.#sender.sendAgain(connection, publication, open)) return false;
      } else if (position > this.#sent) {
        const qos = this.qosOf(publication);
        const isWanted = qos !== 0 && this.#sender.isFor(connection, publication);
        const before = this.#sent;
        this.#sent = position;
        if (isWanted && !this.#sender.sendNew(connection, publication, qos)) {
          this.#sent = before;
          return false;
        }
      }
      if (connection !== this.#connection) return false;
    }
    const upTo = Math.min(next, edge);
    this.#backlog.current = undefined;
    this.#backlog.next = upTo;
    this.#sent = Math.max(this.#sent, upTo);
    this.flights.passOver(upTo);
    this.#options.onChange();
    return true;
  }
}
