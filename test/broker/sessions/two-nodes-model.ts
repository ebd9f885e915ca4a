import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { pino } from "pino";
import type { SessionCursor } from "../../../broker/sessions/session-cursor.ts";
import type { SessionConnection, SessionDelivery } from "../../../broker/sessions/session-delivery.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import type { RedisPlace } from "../../bridge/journal/redis-place.ts";
import { openStorage } from "./storage-over-journal.ts";

const KEY = "user:alice\u001farchive";
const OWNER = { identity: "user:alice", permissions: ["admin"] };
const FILTER = "events/#";
const COMMAND_TIMEOUT_MS = 2_000;

/** What is on its way to the client. */
type Packet = { cmd: "publish"; delivery: SessionDelivery } | { cmd: "pubrel"; messageId: number };

/** The link of a node to Redis, which a kill cuts. */
async function openLink(redisPort: number) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(redisPort, "127.0.0.1");
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => peer.destroy());
      socket.pipe(peer);
    }
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  const cut = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { url: `redis://127.0.0.1:${typeof address === "object" ? address?.port : ""}`, cut };
}

type Node = Awaited<ReturnType<typeof openNode>>;

async function openNode(place: RedisPlace, redisPort: number, onTaken: () => void) {
  const link = await openLink(redisPort);
  const logger = pino({ level: "silent" });
  const prefix = place.prefix.replace(/[{}:]/g, "");
  const redis = openRedis({ url: link.url, prefix, logger, commandTimeoutMs: COMMAND_TIMEOUT_MS });
  const state = { isConnected: false };
  const opened = await openStorage({
    now: Date.now,
    openJournal: (now) => place.openNode({ redis, now, waits: { heartbeatMs: 100 } }),
    isConnected: () => state.isConnected,
    closeClients: onTaken,
  });
  return { ...opened, link, redis, state };
}

/** The connection of the client to a node. */
class Connection implements SessionConnection {
  readonly isFull = false;
  readonly node: Node;
  readonly cursor: SessionCursor;
  readonly packets: Packet[] = [];

  constructor(node: Node) {
    this.node = node;
    const connected = node.storage.connect(KEY, this);
    if (connected === undefined) throw new Error("the session is lost");
    this.cursor = connected.cursor;
    for (const messageId of connected.released) this.packets.push({ cmd: "pubrel", messageId });
    this.cursor.start(this);
  }

  mayReceive(): boolean {
    return true;
  }

  send(delivery: SessionDelivery): void {
    this.packets.push({ cmd: "publish", delivery });
  }
}

/** A session, its client, and two nodes over one Redis. A kill cuts a node from Redis at any moment, and another takes its place. */
export class TwoNodes {
  /** The numbers of the publications whose publishers were acknowledged, by position. */
  readonly acknowledged = new Map<number, { n: number; qos: 1 | 2 }>();
  /** The numbers, in the order of delivery to the application. */
  readonly delivered: number[] = [];
  readonly #place: RedisPlace;
  readonly #redisPort: number;
  readonly #nodes: Node[] = [];
  readonly #received = new Set<number>();
  readonly #publishing = new Set<Promise<void>>();
  #connection: Connection | undefined;
  #published = 0;

  constructor(place: RedisPlace, redisPort: number) {
    this.#place = place;
    this.#redisPort = redisPort;
  }

  async start(): Promise<void> {
    this.#nodes.push(await this.#open(), await this.#open());
    await this.connect(0);
    await this.#nodes[0]?.storage.subscribe(KEY, FILTER, { qos: 2 });
  }

  async #open(): Promise<Node> {
    const node: Node = await openNode(this.#place, this.#redisPort, () => {
      if (this.#connection?.node === node) this.#lose();
    });
    return node;
  }

  #lose(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    if (connection === undefined) return;
    connection.node.state.isConnected = false;
    connection.cursor.disconnect(connection);
  }

  readonly steps: Record<string, (at: number) => Promise<void>> = {
    connect: async (at) => void (await this.connect(at % 2)),
    publish: async (at) => {
      for (let count = 0; count <= at % 4; count++) this.#publish(at % 2, at % 3 === 0 ? 1 : 2);
    },
    read: (at) => this.#read(at % 7),
    disconnect: async () => {
      const node = this.#connection?.node;
      this.#lose();
      await node?.storage.left(KEY);
      node?.storage.release(KEY);
    },
    kill: (at) => this.#kill(at % 2),
    wait: () => new Promise((resolve) => setTimeout(resolve, 5)),
  };

  /** The client connects to the node, although it may be connected. A node may refuse it. */
  async connect(at: number): Promise<boolean> {
    const node = this.#nodes[at];
    if (node === undefined) return false;
    this.#lose();
    node.state.isConnected = true;
    try {
      await node.storage.keep(KEY, OWNER);
      this.#connection = new Connection(node);
    } catch {
      node.state.isConnected = false;
    }
    return this.#connection !== undefined;
  }

  #publish(at: number, qos: 1 | 2): void {
    const n = ++this.#published;
    const publication = { topic: "events/x", payload: Buffer.from(String(n)), qos, retain: false };
    const publishing = this.#nodes[at]?.journal.mqtt.append(publication).then(
      (position) => void this.acknowledged.set(position, { n, qos }),
      () => {},
    );
    if (publishing === undefined) return;
    this.#publishing.add(publishing);
    void publishing.finally(() => this.#publishing.delete(publishing));
  }

  /** The client reads and answers packets. */
  async #read(count: number): Promise<void> {
    const connection = this.#connection;
    for (let left = count; left > 0 && connection !== undefined; left--) {
      const packet = connection.packets.shift();
      if (packet === undefined || connection !== this.#connection) return;
      if (packet.cmd === "pubrel") this.#released(connection, packet.messageId);
      else await this.#take(connection, packet.delivery);
    }
  }

  async #take(connection: Connection, { publication, qos, messageId, onWritten }: SessionDelivery): Promise<void> {
    const { cursor, node } = connection;
    onWritten();
    const isRepeated = qos === 2 && this.#received.has(messageId);
    if (!isRepeated) this.delivered.push(Number(publication.payload));
    if (qos === 1) {
      cursor.acknowledge(connection, messageId);
      return;
    }
    this.#received.add(messageId);
    const release = cursor.receive(connection, messageId);
    if (release === undefined) return;
    try {
      await node.storage.store(KEY);
    } catch {
      return;
    }
    if (connection !== this.#connection) return;
    release();
    this.#released(connection, messageId);
  }

  #released({ cursor }: Connection, messageId: number): void {
    this.#received.delete(messageId);
    if (this.#connection?.cursor === cursor) cursor.acknowledge(this.#connection, messageId);
  }

  async #kill(at: number): Promise<void> {
    const node = this.#nodes[at];
    if (node === undefined) return;
    node.link.cut();
    if (this.#connection?.node === node) this.#lose();
    // Nothing of it reaches Redis.
    void node.redis.close();
    node.close().catch(() => undefined);
    this.#nodes[at] = await this.#open();
  }

  /** The client connects, and gets everything. */
  async settle(until: () => boolean, timeoutMs: number): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (let at = 0; !(await this.connect(at)) && performance.now() < end; at = 1 - at);
    await Promise.all(this.#publishing);
    while (performance.now() < end && !(until() && this.#connection?.packets.length === 0)) {
      if (this.#connection === undefined) await this.connect(0);
      await this.#read(1_000);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** The publications that the client must have: in order of position. */
  get expected(): { n: number; qos: 1 | 2 }[] {
    return [...this.acknowledged].sort(([one], [other]) => one - other).map(([, publication]) => publication);
  }
}
