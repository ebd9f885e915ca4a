import { filterMatches } from "../../contract/topics.ts";
import type { LoggedPublication, PublicationLog, PublicationPage } from "../../platform/publication-log.ts";

/**
 * Message ids that are a function of the position: after a crash, a redelivery has its original id although the id was
 * never stored. A client that has received a QoS 2 publication, whose record was lost in a crash and which may not be
 * delivered any more, holds an id of which this server does not know; so the next publication with this id, 60,000
 * positions later, would be a repetition for the client. Ids above this number are for retained messages and `$` topics,
 * which have no place in the log.
 */
const POSITION_IDS = 60_000;
export const FIRST_UNLOGGED_ID = POSITION_IDS + 1;
export const LAST_ID = 65_535;
/** In a stored session: the publication has not been sent, and gets its usual message id when it is. */
export const NOT_SENT_ID = 0;

/** A publication that was sent to the client, until the client has acknowledged it. */
interface Flight {
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

interface Filter {
  readonly qos: 0 | 1 | 2;
  /** Publications up to this position are not for the filter, which was subscribed later. */
  readonly since: number;
}

/** A delivery to the client. */
export interface SessionDelivery {
  readonly publication: LoggedPublication;
  readonly qos: 1 | 2;
  readonly messageId: number;
  readonly dup: boolean;
  /** Called when the connection has taken the bytes, or has ended. */
  onWritten(): void;
}

/** The connection of the session's client. */
export interface SessionConnection {
  /** Whether the connection has enough unsent bytes. When it has fewer, {@link SessionCursor.wake} is called. */
  readonly isFull: boolean;
  /** Whether the client may receive the publication now, by the permissions of this connection. */
  mayReceive(publication: LoggedPublication): boolean;
  send(delivery: SessionDelivery): void;
}

/** A session as it is stored. */
export interface CursorRecord {
  /** Everything up to this position was sent at least once, or is not for this session. */
  sent: number;
  /**
   * Sent and not acknowledged, in order: position, QoS, 1 if released, and the message id if it is not the usual one.
   * The message id {@link NOT_SENT_ID} means: for this session whatever its filters are, and not sent yet.
   */
  open: [position: number, qos: 1 | 2, released: 0 | 1, messageId?: number | undefined][];
  filters: [filter: string, qos: 0 | 1 | 2, since: number][];
}

interface SessionCursorOptions {
  log: Pick<PublicationLog, "recent" | "read">;
  /** Everything up to this position has been offered to live sessions. */
  edge(): number;
  /** The largest number of unacknowledged publications. */
  window: number;
  /** The largest number of publications that the connection has not written. */
  maxUnwritten: number;
  /** Whether {@link SessionCursor.acknowledge} returns the publication. */
  wantsReceipt(topic: string): boolean;
  /** The record differs from the stored one. */
  onChange(): void;
  /** The session was live and is no longer: {@link SessionCursor.sent} is exact and does not move by itself. */
  onParked?(): void;
  /** Publications are missing that the session may have been waiting for. */
  onMissing(missing: NonNullable<PublicationPage["missing"]>): void;
  onReadFailed(error: unknown): void;
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs the function in a later turn of the event loop. Default: `setImmediate`. */
  defer?: (work: () => void) => void;
  /** Runs the function after a failed read. Default: a second later. */
  retry?: (work: () => void) => void;
}

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
  readonly #filters = new Map<string, Filter>();
  /** In order of position. */
  readonly #open = new Map<number, Flight>();
  readonly #byId = new Map<number, Flight>();
  /** While the session is live, the edge has the place of this field. */
  #sent: number;
  #state: "away" | "starting" | "behind" | "live" = "away";
  #connection: SessionConnection | undefined;
  /** The newest connection, even after its end: its acknowledgements may be processed later. */
  #newest: SessionConnection | undefined;
  /** Of {@link #open}: what this connection has to send again. */
  readonly #resend = new Map<number, Flight>();
  /** The log has been read up to this position for this connection. */
  #next = 0;
  /** The page that is being sent. */
  #page: { page: PublicationPage; at: number } | undefined;
  #isReading = false;
  #isDeferred = false;
  #isPumping = false;
  #unwritten = 0;

  constructor(record: CursorRecord, options: SessionCursorOptions) {
    this.#options = options;
    const edge = options.edge();
    // The positions of an older copy of the log may be above those of the log.
    this.#sent = Math.min(record.sent, edge);
    for (const [filter, qos, since] of record.filters) this.#filters.set(filter, { qos, since: Math.min(since, edge) });
    for (const [position, qos, released, messageId] of record.open) {
      if (position > edge && released === 0) continue;
      this.#add(position, qos, released === 1 ? "released" : "sent", undefined, messageId);
    }
  }

  get filters(): ReadonlyMap<string, Filter> {
    return this.#filters;
  }

  get isLive(): boolean {
    return this.#state === "live";
  }

  get isAway(): boolean {
    return this.#state === "away";
  }

  get open(): number {
    return this.#open.size;
  }

  /** Everything up to this position was sent at least once, or is not for this session. */
  get sent(): number {
    return this.#state === "live" ? this.#options.edge() : this.#sent;
  }

  /** The session does not need publications up to and including this position. */
  get floor(): number {
    // A released publication is needed until its release is durable: otherwise it would be sent again.
    for (const { position, state } of this.#open.values())
      if (state !== "released") return Math.min(position - 1, this.sent);
    return this.sent;
  }

  record(): CursorRecord {
    const open: CursorRecord["open"] = [];
    for (const { position, qos, state, messageId } of this.#open.values()) {
      const released = state === "sent" ? 0 : 1;
      if (messageId === messageIdOf(position)) open.push([position, qos, released]);
      else open.push([position, qos, released, messageId]);
    }
    const filters = [...this.#filters].map(([filter, { qos, since }]): CursorRecord["filters"][number] => [
      ...([filter, qos, since] as const),
    ]);
    return { sent: this.sent, open, filters };
  }

  /** From now on, publications of the filter are for this session. Call this when SUBSCRIBE arrives. */
  subscribe(filter: string, qos: 0 | 1 | 2): void {
    const known = this.#filters.get(filter);
    if (known?.qos === qos) return;
    const since = known !== undefined && known.qos > 0 ? known.since : this.#options.edge();
    this.#filters.set(filter, { qos, since });
    this.#options.onChange();
  }

  unsubscribe(filter: string): void {
    if (this.#filters.delete(filter)) this.#options.onChange();
  }

  /** The QoS of the session's delivery of the publication; 0 when the session does not get the publication. */
  qosOf({ topic, position, qos }: Pick<LoggedPublication, "topic" | "position" | "qos">): 0 | 1 | 2 {
    let granted: 0 | 1 | 2 = 0;
    for (const [filter, one] of this.#filters) {
      if (one.qos > granted && one.since < position && filterMatches(filter, topic)) granted = one.qos;
    }
    return granted < qos ? granted : qos;
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
    this.#connection = connection;
    this.#newest = connection;
    this.#state = "starting";
    this.#next = this.#sent;
    const released: number[] = [];
    for (const flight of this.#open.values()) {
      if (flight.state === "released") released.push(flight.messageId);
      else {
        this.#resend.set(flight.position, flight);
        this.#next = Math.min(this.#next, flight.position - 1);
      }
    }
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
    this.#connection = undefined;
    this.#page = undefined;
    this.#unwritten = 0;
    this.#resend.clear();
    if (wasLive) this.#options.onParked?.();
    this.#options.onChange();
  }

  /** Offers the next publication of the log to a live session. @param qos see {@link qosOf} */
  offer(publication: LoggedPublication, qos: 1 | 2): void {
    const connection = this.#connection;
    if (this.#state !== "live" || connection === undefined) return;
    const { position } = publication;
    if (this.#open.has(position) || !this.#isFor(connection, publication)) return;
    if (this.#hasRoom(connection) && this.#mayOpen(position)) {
      this.#send(connection, this.#add(position, qos, "sent", publication), publication, false);
      return;
    }
    this.#state = "behind";
    this.#sent = position - 1;
    this.#next = position - 1;
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
    const flight = this.#byId.get(messageId);
    if (flight === undefined) return undefined;
    this.#close(flight);
    this.#pump();
    return flight.publication;
  }

  /**
   * PUBREC has arrived. Store the record, and then call the returned function and send PUBREL.
   * @returns undefined when PUBREL may be sent at once
   */
  receive(connection: SessionConnection, messageId: number): (() => void) | undefined {
    const flight = this.#byId.get(messageId);
    if (connection !== this.#newest || flight?.qos !== 2) return undefined;
    // PUBRELs are sent in the order of the PUBRECs, some of which may not be durable yet [MQTT-4.6.0-4].
    if (flight.state === "released") return this.#isReleasing() ? () => {} : undefined;
    flight.state = "releasing";
    this.#resend.delete(flight.position);
    this.#options.onChange();
    return () => {
      // A newer connection sends the publication again and gets another PUBREC. Until then it must stay in the log.
      if (connection === this.#newest) flight.state = "released";
    };
  }

  /** The delivery of the publication has been refused, so that the client will not acknowledge it. */
  refused(position: number): void {
    const flight = this.#open.get(position);
    if (flight === undefined) return;
    // The client may hold the message id of an earlier delivery: the next connection frees it with PUBREL.
    if (flight.qos === 2 && flight.isRepeated) {
      flight.state = "released";
      this.#options.onChange();
    } else this.#close(flight);
    this.#pump();
  }

  /**
   * Passes over publications, up to and including the position, that have not been sent: no longer kept, or not for
   * this session. The record need not be stored for that.
   */
  skipTo(position: number): void {
    if (this.#state !== "live") this.#sent = Math.max(this.#sent, Math.min(position, this.#options.edge()));
  }

  /** Whether a publication with this message id is being sent. */
  hasId(messageId: number): boolean {
    return this.#byId.has(messageId);
  }

  /**
   * Closes what was sent and not acknowledged up to the position, because the log does not have it any more. Only for a
   * session without a connection. @returns how many publications the client may not have
   */
  giveUp(position: number): number {
    if (this.#state !== "away") return 0;
    let count = 0;
    for (const flight of [...this.#open.values()]) {
      if (flight.position > position || flight.state === "released") continue;
      count++;
      // The client may hold the message id: the next connection frees it with PUBREL.
      if (flight.qos === 2) flight.state = "released";
      else this.#close(flight);
    }
    if (count > 0) this.#options.onChange();
    return count;
  }

  /** The positions of what was sent and may have to be sent again. */
  *unacknowledged(): Generator<number> {
    for (const { position, state } of this.#open.values()) if (state !== "released") yield position;
  }

  /** The message id of the publication; undefined when it is not being sent, or was acknowledged. */
  messageIdAt(position: number): number | undefined {
    return this.#open.get(position)?.messageId;
  }

  qosAt(position: number): 1 | 2 | undefined {
    return this.#open.get(position)?.qos;
  }

  #pump(): void {
    const connection = this.#connection;
    if (this.#state !== "behind" || connection === undefined) return;
    // A pump that sends finds out by itself that there is more room.
    if (this.#isPumping || this.#isReading || this.#isDeferred) return;
    this.#isPumping = true;
    const isPageDone = this.#sendNext(connection);
    this.#isPumping = false;
    if (connection !== this.#connection) this.#pump();
    else if (isPageDone && this.#next >= this.#options.edge()) this.#goLive();
    else if (isPageDone) this.#later();
  }

  /** @returns whether everything up to the next position of the log was sent */
  #sendNext(connection: SessionConnection): boolean {
    const { log, edge } = this.#options;
    if (this.#page === undefined) {
      if (this.#next >= edge()) return true;
      const page = log.recent(this.#next);
      if (page === undefined) {
        void this.#read(connection);
        return false;
      }
      this.#page = { page, at: 0 };
    }
    return this.#sendPage(connection, this.#page);
  }

  #goLive(): void {
    this.#passOver(this.#options.edge());
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

  async #read(connection: SessionConnection): Promise<void> {
    this.#isReading = true;
    let failure: unknown;
    try {
      const page = await this.#options.log.read(this.#next);
      // A page that was read for an earlier connection begins elsewhere.
      if (connection === this.#connection && this.#state === "behind") {
        if (page.missing !== undefined) this.#options.onMissing(page.missing);
        this.#page = { page, at: 0 };
      }
    } catch (error) {
      failure = error ?? new Error("unknown");
    }
    this.#isReading = false;
    if (failure === undefined) {
      this.#pump();
      return;
    }
    this.#options.onReadFailed(failure);
    const { retry = (work) => void setTimeout(work, 1_000).unref() } = this.#options;
    retry(() => this.#pump());
  }

  /** @returns false when the window or the connection is full, or the connection has ended */
  #sendPage(connection: SessionConnection, current: { page: PublicationPage; at: number }): boolean {
    const { publications, next } = current.page;
    const edge = this.#options.edge();
    for (; current.at < publications.length; current.at++) {
      const publication = publications[current.at];
      if (publication === undefined || publication.position > edge) break;
      const { position } = publication;
      this.#passOver(position - 1);
      const open = this.#open.get(position);
      if (open !== undefined) {
        if (!this.#resend.has(position)) continue;
        if (!this.#hasRoom(connection)) return false;
        open.isRepeated = open.messageId !== NOT_SENT_ID;
        if (!open.isRepeated) {
          if (!this.#mayOpen(position)) return false;
          open.messageId = messageIdOf(position);
          this.#byId.set(open.messageId, open);
          if (this.#options.wantsReceipt(publication.topic)) open.publication = publication;
        }
        this.#resend.delete(position);
        this.#send(connection, open, publication, open.isRepeated);
      } else if (position > this.#sent) {
        const qos = this.qosOf(publication);
        if (qos !== 0 && this.#isFor(connection, publication)) {
          if (!this.#hasRoom(connection) || !this.#mayOpen(position)) return false;
          this.#sent = position;
          this.#send(connection, this.#add(position, qos, "sent", publication), publication, false);
        } else this.#sent = position;
      }
      if (connection !== this.#connection) return false;
    }
    this.#page = undefined;
    this.#next = Math.min(next, edge);
    this.#sent = Math.max(this.#sent, this.#next);
    this.#passOver(this.#next);
    this.#options.onChange();
    return true;
  }

  /**
   * Closes what had to be sent again, up to and including the position, and is not in the log any more: it was
   * acknowledged after the record was stored, or was given up.
   */
  #passOver(position: number): void {
    for (const flight of this.#resend.values()) {
      if (flight.position > position) return;
      this.#close(flight);
    }
  }

  #isFor(connection: SessionConnection, publication: LoggedPublication): boolean {
    if (publication.expiresAt !== undefined && publication.expiresAt <= this.#options.now()) return false;
    return connection.mayReceive(publication);
  }

  #hasRoom(connection: SessionConnection): boolean {
    return this.#unwritten < this.#options.maxUnwritten && !connection.isFull;
  }

  /** Whether the window has room, and the message id is free. */
  #mayOpen(position: number): boolean {
    return this.#byId.size < this.#options.window && !this.#byId.has(messageIdOf(position));
  }

  #send(connection: SessionConnection, flight: Flight, publication: LoggedPublication, dup: boolean): void {
    this.#unwritten++;
    const onWritten = () => {
      if (connection !== this.#connection) return;
      this.#unwritten--;
      this.#pump();
    };
    this.#options.onChange();
    connection.send({ publication, qos: flight.qos, messageId: flight.messageId, dup, onWritten });
  }

  #isReleasing(): boolean {
    for (const { state } of this.#open.values()) if (state === "releasing") return true;
    return false;
  }

  #add(
    position: number,
    qos: 1 | 2,
    state: Flight["state"],
    publication: LoggedPublication | undefined,
    messageId = messageIdOf(position),
  ): Flight {
    const isKept = publication !== undefined && this.#options.wantsReceipt(publication.topic);
    const flight: Flight = {
      position,
      qos,
      messageId,
      state,
      isRepeated: false,
      publication: isKept ? publication : undefined,
    };
    this.#open.set(position, flight);
    if (messageId !== NOT_SENT_ID) this.#byId.set(messageId, flight);
    return flight;
  }

  #close(flight: Flight): void {
    this.#open.delete(flight.position);
    this.#byId.delete(flight.messageId);
    this.#resend.delete(flight.position);
    this.#options.onChange();
  }
}

export function messageIdOf(position: number): number {
  return 1 + (position % POSITION_IDS);
}
