import type { Logger } from "pino";
import { z } from "zod";
import { Listeners } from "../../platform/listeners.ts";
import type { Delivery, TakeOver } from "../../platform/publications.ts";
import type { Cluster, Json } from "../cluster/cluster.ts";
import type { BrokerLink } from "./broker-link.ts";

interface SharedLinkOptions {
  /** The link to this node's own broker. */
  link: BrokerLink;
  /** The identities connected to this node's broker. */
  identities: () => Iterable<string>;
  cluster: Pick<Cluster, "nodeId" | "nodes" | "onNodes" | "signals">;
  /** The interval of reports to the other nodes about connected and disconnected devices. Default 250. */
  intervalMs?: number;
  /** How long the start waits for the device lists of the other nodes. Default 1,000. */
  startTimeoutMs?: number;
  /** The server's own clock, milliseconds since 1970. */
  now: () => number;
  logger: Logger;
}

/** The most disconnected devices whose time is remembered. The oldest are forgotten first. */
const MAX_LEFT = 10_000;
const MAX_IDENTITIES_PER_MESSAGE = 5_000;
/** Names of signals between nodes. */
const CLIENTS = "mqtt-clients";
const LIST_CLIENTS = "mqtt-clients?";
const DELIVERED = "mqtt-delivered";
const TAKEN_OVER = "mqtt-taken-over";

const clientsSchema = z.object({
  /** Whether this message begins a full list of the node's devices, which replaces the earlier lists. */
  whole: z.boolean(),
  /** Connected devices. */
  came: z.array(z.string()),
  /** Disconnected devices. */
  gone: z.array(z.string()),
});
const takenOverSchema = z.object({ clientId: z.string(), identity: z.string() });
const deliveredSchema = z.object({ identity: z.string(), topic: z.string(), payload: z.base64() });

/**
 * Combines the broker links of all nodes. A device is connected if it is connected to any node. Each node reports its
 * deliveries and replaced connections to the other nodes. Only devices and services are shared: no node needs the users
 * of another node. While Redis is unavailable, the last known state of the other nodes is used.
 */
export async function shareLink(options: SharedLinkOptions): Promise<BrokerLink & { stop(): void }> {
  const shared = new SharedLink(options);
  await shared.start();
  return shared;
}

class SharedLink implements BrokerLink {
  readonly #options: SharedLinkOptions;
  /** Connected devices of the other nodes, by node id. */
  readonly #clients = new Map<string, Set<string>>();
  /** When devices disconnected from all nodes, oldest first. */
  readonly #left = new Map<string, number>();
  readonly #deliveries: Listeners<[Delivery]>;
  readonly #takeOvers: Listeners<[TakeOver]>;
  readonly #unsubscribe: (() => void)[] = [];
  /** This node's devices as last sent to the other nodes. */
  #sent = new Set<string>();
  #onClientsReceived = () => {};

  constructor(options: SharedLinkOptions) {
    this.#options = options;
    this.#deliveries = new Listeners(options.logger);
    this.#takeOvers = new Listeners(options.logger);
  }

  async start(): Promise<void> {
    const { link, cluster, intervalMs = 250 } = this.#options;
    const { signals, nodeId } = cluster;
    const requestLists = () => signals.send(LIST_CLIENTS, null);
    this.#unsubscribe.push(
      signals.on(CLIENTS, (message, from) => this.#receiveClients(message, from), requestLists),
      signals.on(LIST_CLIENTS, (_message, from) => {
        if (from !== nodeId) this.#sendAll();
      }),
      signals.on(DELIVERED, (message, from) => this.#receiveDelivery(message, from)),
      cluster.onNodes((living) => this.#dropStoppedNodes(living)),
      link.onDelivered((delivery) => this.#onOwnDelivery(delivery)),
      signals.on(TAKEN_OVER, (message, from) => {
        const takeOver = takenOverSchema.safeParse(message).data;
        if (from !== nodeId && takeOver !== undefined) this.#takeOvers.call(takeOver);
      }),
      link.onTakeOver((takeOver) => {
        this.#takeOvers.call(takeOver);
        signals.send(TAKEN_OVER, { ...takeOver });
      }),
    );
    const reports = setInterval(() => this.#sendChanges(), intervalMs).unref();
    this.#unsubscribe.push(() => clearInterval(reports));
    await this.#awaitFirstLists(requestLists);
  }

  publish: BrokerLink["publish"] = (publication) => this.#options.link.publish(publication);
  /** Retained messages are the same on all nodes. */
  retainedBelow = (topic: string) => this.#options.link.retainedBelow?.(topic) ?? [];
  onTakeOver: BrokerLink["onTakeOver"] = (listener) => this.#takeOvers.add(listener);
  onDelivered: BrokerLink["onDelivered"] = (listener) => this.#deliveries.add(listener);

  connected(identity: string): boolean {
    if (this.#options.link.connected(identity)) return true;
    for (const clients of this.#clients.values()) if (clients.has(identity)) return true;
    return false;
  }

  leftAt(identity: string): number | undefined {
    return this.connected(identity) ? undefined : this.#left.get(identity);
  }

  stop(): void {
    for (const end of this.#unsubscribe.splice(0)) end();
  }

  /** Resolves when each running node has listed its devices, or after `startTimeoutMs`. */
  async #awaitFirstLists(requestLists: () => void): Promise<void> {
    const { cluster, startTimeoutMs = 1_000 } = this.#options;
    const others = (await cluster.nodes()).map(({ id }) => id).filter((id) => id !== cluster.nodeId);
    if (others.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, startTimeoutMs);
      this.#onClientsReceived = () => {
        if (!others.every((id) => this.#clients.has(id))) return;
        clearTimeout(timer);
        resolve();
      };
      requestLists();
    });
    this.#onClientsReceived = () => {};
  }

  #ownDevices(): Set<string> {
    const devices = new Set<string>();
    for (const identity of this.#options.identities()) if (isDevice(identity)) devices.add(identity);
    return devices;
  }

  #sendChanges(): void {
    const { came, gone } = this.#changes();
    if (came.length + gone.length > 0) this.#send(came, gone, false);
  }

  #sendAll(): void {
    this.#changes();
    this.#send([...this.#sent], [], true);
  }

  /** What has changed since this node last told the others. */
  #changes(): { came: string[]; gone: string[] } {
    const now = this.#ownDevices();
    const came = [...now].filter((identity) => !this.#sent.has(identity));
    const gone = [...this.#sent].filter((identity) => !now.has(identity));
    this.#sent = now;
    this.#noteLeft(gone);
    return { came, gone };
  }

  #send(came: string[], gone: string[], whole: boolean): void {
    const messages = Math.max(1, Math.ceil(Math.max(came.length, gone.length) / MAX_IDENTITIES_PER_MESSAGE));
    for (let index = 0; index < messages; index++) {
      const slice = (identities: string[]) =>
        identities.slice(index * MAX_IDENTITIES_PER_MESSAGE, (index + 1) * MAX_IDENTITIES_PER_MESSAGE);
      const message = { whole: whole && index === 0, came: slice(came), gone: slice(gone) };
      this.#options.cluster.signals.send(CLIENTS, message);
    }
  }

  #receiveClients(message: Json, from: string): void {
    const received = clientsSchema.safeParse(message).data;
    if (from === this.#options.cluster.nodeId || received === undefined) return;
    const { whole, came, gone } = received;
    const before = this.#clients.get(from) ?? new Set<string>();
    const clients = whole ? new Set<string>() : before;
    for (const identity of gone) clients.delete(identity);
    for (const identity of came) clients.add(identity);
    this.#clients.set(from, clients);
    this.#noteLeft(whole ? before : gone);
    this.#onClientsReceived();
  }

  #dropStoppedNodes(living: ReadonlySet<string>): void {
    const { nodeId, signals } = this.#options.cluster;
    for (const [node, clients] of this.#clients) {
      if (living.has(node)) continue;
      this.#clients.delete(node);
      this.#noteLeft(clients);
    }
    // A node that was wrongly considered stopped sends only changes, so its full list is requested again.
    for (const node of living)
      if (node !== nodeId && !this.#clients.has(node)) {
        signals.send(LIST_CLIENTS, null);
        return;
      }
  }

  /** Remembers the time for those devices that no node has any more. */
  #noteLeft(identities: Iterable<string>): void {
    for (const identity of identities) {
      if (this.connected(identity)) continue;
      this.#left.delete(identity);
      this.#left.set(identity, this.#options.now());
      const [oldest] = this.#left.keys();
      if (this.#left.size > MAX_LEFT && oldest !== undefined) this.#left.delete(oldest);
    }
  }

  #onOwnDelivery(delivery: Delivery): void {
    this.#deliveries.call(delivery);
    const { identity, topic, payload } = delivery;
    if (!isDevice(identity)) return;
    this.#options.cluster.signals.send(DELIVERED, { identity, topic, payload: payload.toString("base64") });
  }

  #receiveDelivery(message: Json, from: string): void {
    const delivery = deliveredSchema.safeParse(message).data;
    if (from === this.#options.cluster.nodeId || delivery === undefined) return;
    this.#deliveries.call({ ...delivery, payload: Buffer.from(delivery.payload, "base64") });
  }
}

function isDevice(identity: string): boolean {
  return identity.startsWith("device:") || identity.startsWith("service:");
}
