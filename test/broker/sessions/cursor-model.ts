import type { FilterOptions } from "../../../broker/access/filter-options.ts";
import { SessionCursor } from "../../../broker/sessions/session-cursor.ts";
import type { CursorRecord, SessionConnection, SessionDelivery } from "../../../broker/sessions/session-delivery.ts";
import { messageIdOf } from "../../../broker/sessions/session-flights.ts";
import { filterMatches } from "../../../contract/topics.ts";
import type { LoggedPublication, PublicationPage } from "../../../platform/publication-log.ts";

type Qos = 0 | 1 | 2;

/** The client of the session. Its state survives the end of connections, as MQTT demands. */
interface Client {
  /** The ids of received QoS 2 publications without a PUBREL. */
  readonly received: Map<number, number>;
  /** Positions, in the order of delivery to the application. */
  readonly delivered: { position: number; qos: 1 | 2 }[];
}

type FromServer = { cmd: "publish"; delivery: SessionDelivery } | { cmd: "pubrel"; messageId: number };
type FromClient = { cmd: "puback" | "pubrec" | "pubcomp"; messageId: number };

/** A connection with the packets that are on their way. */
class Link implements SessionConnection {
  readonly toClient: FromServer[] = [];
  readonly toServer: FromClient[] = [];
  readonly unwritten: SessionDelivery[] = [];
  isFull = false;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  mayReceive({ topic }: LoggedPublication): boolean {
    return !this.#world.refusedTopics.has(topic);
  }

  send(delivery: SessionDelivery): void {
    this.unwritten.push(delivery);
    this.#world.check(delivery);
    // The permission may have ended in the moment between the decision and the delivery.
    if (this.#world.isHookRefusing) {
      this.#world.noteRefused(delivery.publication.position);
      this.#world.noteFreed(delivery.publication.position);
      this.#world.cursor.refused(delivery.publication.position);
    } else this.toClient.push({ cmd: "publish", delivery });
  }
}

/** What the model knows of a publication. */
interface Expected {
  readonly position: number;
  /** The session may get it. */
  isAllowed: boolean;
  /** The session must get it: it was subscribed all the time, and nothing was refused. */
  isNecessary: boolean;
  /** The QoS by the subscriptions of all the time; undefined when they have changed. */
  qos: Qos | undefined;
}

interface PendingWrite {
  record: string;
  then: () => void;
}

export const WINDOW = 4;
/** The key of the session. */
const KEY = "user:alice";

/**
 * A session, its client, the log and the store of records. A step does one thing that may happen in reality: each part
 * proceeds independently, a kill keeps only what is durable, and the end of a connection loses what is on its way.
 */
export class World {
  readonly refusedTopics = new Set<string>();
  isHookRefusing = false;
  /** Deliveries that were not as they must be. */
  readonly problems: string[] = [];
  cursor: SessionCursor;
  readonly client: Client = { received: new Map(), delivered: [] };
  readonly expected = new Map<number, Expected>();
  readonly missing: unknown[] = [];
  #now = 0;
  #log: LoggedPublication[] = [];
  #floor = 0;
  #head = 0;
  #recentAfter = 0;
  #reads: (() => void)[] = [];
  #failedReads = 0;
  #deferred: (() => void)[] = [];
  #link: Link | undefined;
  #isStarted = false;
  #stored = JSON.stringify({ sent: 0, open: [], filters: [] } satisfies CursorRecord);
  #writes: PendingWrite[] = [];
  /** Whether the client delivers QoS 2 publications at PUBLISH, or at PUBREL. MQTT permits both. */
  readonly #deliversAtOnce: boolean;
  readonly #pageSize: number;

  constructor({ deliversAtOnce, pageSize }: { deliversAtOnce: boolean; pageSize: number }) {
    this.#deliversAtOnce = deliversAtOnce;
    this.#pageSize = pageSize;
    this.cursor = this.#open();
  }

  readonly steps: Record<string, (n: number) => void> = {
    publish: (n) =>
      this.#publish(["a", "a/b", "c"][n % 3] ?? "a", ([1, 2, 2, 1, 2, 2, 0] as const)[(n >> 2) % 7] ?? 1, n),
    connect: () => this.#connect(),
    start: () => this.#start(),
    disconnect: () => this.#disconnect(),
    written: () => this.#link?.unwritten.shift()?.onWritten(),
    clientReads: () => this.#clientReads(),
    serverReads: () => this.#serverReads(),
    read: () => this.#reads.shift()?.(),
    defer: () => this.#deferred.shift()?.(),
    store: () => this.#store(() => {}),
    durable: () => this.#durable(),
    trim: () => {
      this.#floor = Math.max(this.#floor, this.cursor.floor);
      this.#log = this.#log.filter(({ position }) => position > this.#floor);
    },
    forgetRecent: () => {
      this.#recentAfter = this.#head;
    },
    kill: (n) => this.#kill(n),
    subscribe: (n) =>
      this.#subscribe(["a", "a/#", "#", "c"][n % 4] ?? "a", {
        qos: ([1, 2, 2, 0] as const)[(n >> 2) % 4] ?? 1,
        ...{ noLocal: (n >> 4) % 5 === 3, retainAsPublished: (n >> 4) % 4 === 1 },
        identifier: (n >> 5) % 3 === 0 ? undefined : n,
      }),
    unsubscribe: (n) => this.#unsubscribe(["a", "a/#", "#", "c"][n % 4] ?? "a"),
    fill: () => {
      if (this.#link !== undefined) this.#link.isFull = true;
    },
    drain: () => this.#drain(),
    refuse: (n) => {
      const topic = ["a", "a/b", "c"][n % 3] ?? "a";
      if (!this.refusedTopics.delete(topic)) this.refusedTopics.add(topic);
      this.#reconsider();
    },
    /** The client answers what an earlier connection has sent. */
    earlyPubrec: () => {
      for (const messageId of this.client.received.keys()) this.#link?.toServer.push({ cmd: "pubrec", messageId });
    },
    tick: () => {
      this.#now += 10;
      for (const { position, expiresAt = Infinity } of this.#log)
        if (expiresAt <= this.#now) this.noteRefused(position);
    },
    refuseInHook: () => {
      this.isHookRefusing = !this.isHookRefusing;
    },
  };

  noteRefused(position: number): void {
    const expected = this.expected.get(position);
    if (expected !== undefined) expected.isNecessary = false;
  }

  /**
   * A repeated delivery has been refused: the client gets PUBREL at its next connection. A kill within some milliseconds,
   * before the record is stored, lets the publication come once more if it is permitted again.
   */
  noteFreed(position: number): void {
    const expected = this.expected.get(position);
    if (expected !== undefined) expected.qos = undefined;
  }

  /** Lets everything happen that is under way, until nothing happens any more. */
  async settle(): Promise<void> {
    this.refusedTopics.clear();
    this.isHookRefusing = false;
    this.#connect();
    for (let round = 0, idle = 0; idle < 3 && round < 20_000; round++) {
      const before = this.#activity();
      this.#start();
      if (round === 0) this.#drain();
      for (const step of ["written", "clientReads", "serverReads", "read", "defer", "durable"]) this.steps[step]?.(0);
      await turn();
      idle = before === this.#activity() && this.#isQuiet() ? idle + 1 : 0;
    }
  }

  #isQuiet(): boolean {
    const { toClient, toServer, unwritten } = this.#link ?? { toClient: [], toServer: [], unwritten: [] };
    return [toClient, toServer, unwritten, this.#reads, this.#deferred, this.#writes].every(
      ({ length }) => length === 0,
    );
  }

  #activity(): string {
    return JSON.stringify([this.cursor.record(), this.client.delivered.length]);
  }

  #open(): SessionCursor {
    const record: CursorRecord = JSON.parse(this.#stored);
    return new SessionCursor(record, {
      key: KEY,
      log: { recent: (after) => this.#recent(after), read: (after) => this.#read(after) },
      edge: () => this.#head,
      window: WINDOW,
      maxUnwritten: 3,
      wantsReceipt: () => false,
      onChange: () => {},
      onMissing: (missing) => this.missing.push(missing),
      onReadFailed: () => {},
      now: () => this.#now,
      defer: (work) => this.#deferred.push(work),
      retry: (work) => this.#deferred.push(work),
    });
  }

  #publish(topic: string, qos: Qos, n: number): void {
    // Positions that are 60,000 apart have the same message id.
    const position = this.#head + (n % 7 === 0 ? 60_000 : n % 5 === 0 ? 2 : 1);
    const publication: LoggedPublication = {
      ...{ position, topic, payload: Buffer.alloc(0), qos, retain: n % 2 === 0 },
      publisher: [undefined, KEY, "other"][n % 3],
      expiresAt: n % 11 === 0 ? this.#now + 10 * (n % 4) : undefined,
    };
    const isExpired = publication.expiresAt === this.#now;
    const before = this.#qosNow(publication);
    this.expected.set(position, {
      position,
      isAllowed: before.some((one) => one > 0),
      isNecessary: before.every((one) => one > 0) && !this.refusedTopics.has(topic) && !isExpired,
      qos: new Set(before).size === 1 ? before[0] : undefined,
    });
    this.#log.push(publication);
    // Another part may wake the session before the publication is offered.
    if (n % 3 === 0) this.cursor.wake();
    // The group of the session does not know who has published.
    const granted = this.cursor.qosOf({ ...publication, publisher: undefined });
    if (granted !== 0) this.cursor.offer(publication, granted);
    this.#head = position;
  }

  /** The QoS of the delivery by the subscriptions in memory, and by those that a kill may leave. */
  #qosNow(publication: LoggedPublication): Qos[] {
    const stored = [this.#stored, ...this.#writes.map(({ record }) => record)];
    const records = stored.map((text): CursorRecord => JSON.parse(text));
    return [this.cursor.record(), ...records].map(({ filters }) => {
      const granted = Math.max(0, ...selecting(filters, publication).map(([, qos]) => qos));
      return granted === 2 && publication.qos === 2 ? 2 : granted > 0 && publication.qos > 0 ? 1 : 0;
    });
  }

  /** Checks what the delivery has besides its QoS. */
  check({ publication, identifiers = [], retain, dup }: SessionDelivery): void {
    const filters = selecting(this.cursor.record().filters, publication);
    const all = filters.flatMap(([, , , , identifier]) => (identifier === undefined ? [] : [identifier]));
    if (String(identifiers) !== String(all)) this.problems.push(`identifiers ${identifiers} and not ${all}`);
    const isRetained = publication.retain && filters.some(([, , , flags = 0]) => (flags & 2) !== 0);
    if (retain !== isRetained) this.problems.push(`retain is ${retain}`);
    const { position, expiresAt = Infinity } = publication;
    if (!dup && expiresAt <= this.#now) this.problems.push(`position ${position} is delivered after its expiry`);
  }

  /** The subscriptions or permissions have changed. */
  #reconsider(): void {
    for (const publication of this.#log) {
      const expected = this.expected.get(publication.position);
      if (expected === undefined) continue;
      const now = this.#qosNow(publication);
      // A session that is behind selects by its present filters: "no local" may have ended since the publication.
      if (publication.publisher === KEY && now.some((qos) => qos > 0)) expected.isAllowed = true;
      if (now.some((qos) => qos === 0) || this.refusedTopics.has(publication.topic)) expected.isNecessary = false;
      if (now.some((qos) => qos !== expected.qos)) expected.qos = undefined;
    }
  }

  #recent(after: number): PublicationPage | undefined {
    return after < Math.max(this.#recentAfter, this.#floor) ? undefined : this.#pageAfter(after);
  }

  #read(after: number): Promise<PublicationPage> {
    return new Promise((resolve, reject) => {
      this.#reads.push(() => {
        if (after % 5 === 3 && ++this.#failedReads < 3) reject(new Error("the disk fails"));
        else resolve(this.#pageAfter(Math.max(after, this.#floor)));
      });
    });
  }

  #pageAfter(after: number): PublicationPage {
    const all = this.#log.filter(({ position, qos }) => position > after && qos > 0);
    const publications = all.slice(0, this.#pageSize);
    const isLast = publications.length === all.length;
    return { publications, next: isLast ? Math.max(after, this.#head) : (publications.at(-1)?.position ?? after) };
  }

  #connect(): void {
    const link = new Link(this);
    this.#link = link;
    this.#isStarted = false;
    for (const messageId of this.cursor.connect(link)) link.toClient.push({ cmd: "pubrel", messageId });
  }

  #start(): void {
    if (this.#link === undefined || this.#isStarted) return;
    this.#isStarted = true;
    this.cursor.start(this.#link);
  }

  #disconnect(): void {
    if (this.#link === undefined) return;
    const link = this.#link;
    this.#link = undefined;
    // Acknowledgements that have arrived may be processed after the end of the connection.
    const late = link.toServer.length % 2 === 0 ? [] : link.toServer;
    this.cursor.disconnect(link);
    for (const packet of late) this.#acknowledged(link, packet);
  }

  #clientReads(): void {
    const packet = this.#link?.toClient.shift();
    if (packet === undefined) return;
    const { received, delivered } = this.client;
    const answer = (cmd: FromClient["cmd"], messageId: number) => this.#link?.toServer.push({ cmd, messageId });
    if (packet.cmd === "pubrel") {
      const position = received.get(packet.messageId);
      received.delete(packet.messageId);
      if (position !== undefined && !this.#deliversAtOnce) delivered.push({ position, qos: 2 });
      answer("pubcomp", packet.messageId);
      return;
    }
    const { publication, qos, messageId } = packet.delivery;
    const { position } = publication;
    if (qos === 1) {
      delivered.push({ position, qos });
      answer("puback", messageId);
      return;
    }
    const held = received.get(messageId);
    // The server does not know of an id whose record was lost, if the publication is refused afterwards.
    const isForgotten = held !== undefined && held !== position && this.expected.get(held)?.isNecessary === false;
    if (held === undefined || isForgotten) {
      received.set(messageId, position);
      if (this.#deliversAtOnce) delivered.push({ position, qos });
    }
    answer("pubrec", messageId);
  }

  #serverReads(): void {
    const packet = this.#link?.toServer.shift();
    if (packet !== undefined && this.#link !== undefined) this.#acknowledged(this.#link, packet);
  }

  #acknowledged(link: Link, { cmd, messageId }: FromClient): void {
    if (cmd !== "pubrec") {
      this.cursor.acknowledge(link, messageId);
      return;
    }
    const durable = this.cursor.receive(link, messageId);
    const release = () => void link.toClient.push({ cmd: "pubrel", messageId });
    if (durable === undefined) release();
    else {
      this.#store(() => {
        durable();
        release();
      });
    }
  }

  #store(then: () => void): void {
    this.#writes.push({ record: JSON.stringify(this.cursor.record()), then });
  }

  #durable(): void {
    const write = this.#writes.shift();
    if (write === undefined) return;
    this.#stored = write.record;
    write.then();
    this.#reconsider();
  }

  #kill(n: number): void {
    // Some of the writes under way have reached the disk.
    for (const write of this.#writes.slice(0, n % (this.#writes.length + 1))) this.#stored = write.record;
    this.#writes = [];
    this.#reads = [];
    this.#deferred = [];
    this.#link = undefined;
    this.#recentAfter = this.#head;
    this.cursor = this.#open();
    this.#reconsider();
    // The PUBREL of an outdated record reaches a client that uses the id for a publication 60,000 positions later.
    for (const [position, , released, messageId = messageIdOf(position)] of this.cursor.record().open) {
      const held = released === 1 ? this.client.received.get(messageId) : undefined;
      const expected = held === undefined || held === position ? undefined : this.expected.get(held);
      if (expected !== undefined) expected.qos = undefined;
    }
  }

  #subscribe(filter: string, options: FilterOptions): void {
    if (this.#link === undefined) return;
    this.cursor.subscribe(filter, options);
    this.#reconsider();
    this.#store(() => {});
  }

  #unsubscribe(filter: string): void {
    if (this.#link === undefined) return;
    this.cursor.unsubscribe(filter);
    this.#reconsider();
    this.#store(() => {});
  }

  #drain(): void {
    if (this.#link === undefined) return;
    this.#link.isFull = false;
    this.cursor.wake();
  }
}

/** The filters that select the publication for the session. */
function selecting(filters: CursorRecord["filters"], publication: LoggedPublication): CursorRecord["filters"] {
  const { position, topic, publisher } = publication;
  return filters.filter(([filter, , since, flags = 0]) => {
    const isLocal = (flags & 1) !== 0 && publisher === KEY;
    return !isLocal && since < position && filterMatches(filter, topic);
  });
}

/** Lets promises resolve. */
export async function turn(): Promise<void> {
  for (let count = 0; count < 4; count++) await Promise.resolve();
}
