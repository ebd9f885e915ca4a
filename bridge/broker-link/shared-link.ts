import { z } from "zod";
import type { Delivery, TakeOver } from "../../platform/publications.ts";
import type { Cluster, Json } from "../cluster/cluster.ts";
import type { BrokerLink } from "./broker-link.ts";

export interface SharedLinkOptions {
  /** This node's own. */
  link: BrokerLink;
  /** Who is connected to it. */
  identities: () => Iterable<string>;
  cluster: Pick<Cluster, "nodeId" | "nodes" | "signals">;
  /** How often the others are told who came and went. Default 250. */
  intervalMs?: number;
  /** How often nodes that are gone are looked for. Default 3,000. */
  nodesIntervalMs?: number;
  /** How long the start waits for the other nodes to say who is connected to them. Default 1,000. */
  startTimeoutMs?: number;
}

/** Identities in one message. */
const MAX_TOLD = 5_000;
const CLIENTS = "mqtt-clients";
const WHO = "mqtt-clients?";
const DELIVERED = "mqtt-delivered";
const TAKEN_OVER = "mqtt-taken-over";

const clientsSchema = z.object({
  /** The first part of a whole list: what was said before counts no more. */
  whole: z.boolean(),
  came: z.array(z.string()),
  gone: z.array(z.string()),
});
const takenOverSchema = z.object({ clientId: z.string(), identity: z.string() });
const deliveredSchema = z.object({ identity: z.string(), topic: z.string(), payload: z.base64() });

/**
 * The links of all nodes as one: a device is connected when it is connected to any node, and what it acknowledges there
 * is known here. Only devices and services are told of; that a user's client is connected is of no use to other nodes.
 * While Redis is away what was last known holds, but for this node's own clients.
 */
export async function shareLink(options: SharedLinkOptions): Promise<BrokerLink & { stop(): void }> {
  const shared = new SharedLink(options);
  await shared.start();
  return shared;
}

class SharedLink implements BrokerLink {
  readonly #options: SharedLinkOptions;
  /** Of the other nodes, by node. */
  readonly #clients = new Map<string, Set<string>>();
  readonly #deliveryListeners = new Set<(delivery: Delivery) => void>();
  readonly #takeOverListeners = new Set<(takeOver: TakeOver) => void>();
  readonly #ends: (() => void)[] = [];
  /** What the others were told. */
  #told = new Set<string>();
  #onHeard = () => {};

  constructor(options: SharedLinkOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { link, cluster, intervalMs = 250, nodesIntervalMs = 3_000 } = this.#options;
    const { signals, nodeId } = cluster;
    const ask = () => signals.send(WHO, null);
    this.#ends.push(
      signals.on(CLIENTS, (message, from) => this.#heard(message, from), ask),
      signals.on(WHO, (_message, from) => {
        if (from !== nodeId) this.#tellAll();
      }),
      signals.on(DELIVERED, (message, from) => this.#acknowledged(message, from)),
      link.onDelivered((delivery) => this.#delivered(delivery)),
      signals.on(TAKEN_OVER, (message, from) => {
        const told = takenOverSchema.safeParse(message);
        if (from !== nodeId && told.success) this.#takenOver(told.data);
      }),
      link.onTakeOver((takeOver) => {
        this.#takenOver(takeOver);
        signals.send(TAKEN_OVER, { ...takeOver });
      }),
    );
    const telling = setInterval(() => this.#tellChanges(), intervalMs).unref();
    const looking = setInterval(() => void this.#forgetGone().catch(() => {}), nodesIntervalMs).unref();
    this.#ends.push(
      () => clearInterval(telling),
      () => clearInterval(looking),
    );
    await this.#firstAnswers(ask);
  }

  publish: BrokerLink["publish"] = (publication) => this.#options.link.publish(publication);

  /** Retained messages are the same at all nodes. */
  retainedBelow(topic: string): readonly string[] {
    return this.#options.link.retainedBelow?.(topic) ?? [];
  }

  onTakeOver(listener: (takeOver: TakeOver) => void): () => void {
    const own: typeof listener = (takeOver) => listener(takeOver);
    this.#takeOverListeners.add(own);
    return () => this.#takeOverListeners.delete(own);
  }

  connected(identity: string): boolean {
    if (this.#options.link.connected(identity)) return true;
    for (const clients of this.#clients.values()) if (clients.has(identity)) return true;
    return false;
  }

  onDelivered(listener: (delivery: Delivery) => void): () => void {
    const own = (delivery: Delivery) => listener(delivery);
    this.#deliveryListeners.add(own);
    return () => this.#deliveryListeners.delete(own);
  }

  stop(): void {
    for (const end of this.#ends.splice(0)) end();
  }

  /** Resolves when each node that lives has said who is connected to it, or the time is over. */
  async #firstAnswers(ask: () => void): Promise<void> {
    const { cluster, startTimeoutMs = 1_000 } = this.#options;
    const others = (await cluster.nodes()).map(({ id }) => id).filter((id) => id !== cluster.nodeId);
    if (others.length === 0) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, startTimeoutMs);
      this.#onHeard = () => {
        if (!others.every((id) => this.#clients.has(id))) return;
        clearTimeout(timer);
        resolve();
      };
      ask();
    });
    this.#onHeard = () => {};
  }

  #ownDevices(): Set<string> {
    const devices = new Set<string>();
    for (const identity of this.#options.identities()) if (isDevice(identity)) devices.add(identity);
    return devices;
  }

  #tellChanges(): void {
    const now = this.#ownDevices();
    const came = [...now].filter((identity) => !this.#told.has(identity));
    const gone = [...this.#told].filter((identity) => !now.has(identity));
    this.#told = now;
    if (came.length + gone.length > 0) this.#tell(came, gone, false);
  }

  #tellAll(): void {
    this.#told = this.#ownDevices();
    this.#tell([...this.#told], [], true);
  }

  #tell(came: string[], gone: string[], whole: boolean): void {
    const parts = Math.max(1, Math.ceil(Math.max(came.length, gone.length) / MAX_TOLD));
    for (let part = 0; part < parts; part++) {
      const slice = (identities: string[]) => identities.slice(part * MAX_TOLD, (part + 1) * MAX_TOLD);
      const message = { whole: whole && part === 0, came: slice(came), gone: slice(gone) };
      this.#options.cluster.signals.send(CLIENTS, message);
    }
  }

  #heard(message: Json, from: string): void {
    const told = clientsSchema.safeParse(message);
    if (from === this.#options.cluster.nodeId || !told.success) return;
    const { whole, came, gone } = told.data;
    const clients = (whole ? undefined : this.#clients.get(from)) ?? new Set();
    for (const identity of gone) clients.delete(identity);
    for (const identity of came) clients.add(identity);
    this.#clients.set(from, clients);
    this.#onHeard();
  }

  async #forgetGone(): Promise<void> {
    const alive = new Set((await this.#options.cluster.nodes()).map(({ id }) => id));
    for (const node of [...this.#clients.keys()]) if (!alive.has(node)) this.#clients.delete(node);
    // One that was taken for dead and is not says only what changes.
    alive.delete(this.#options.cluster.nodeId);
    if ([...alive].some((node) => !this.#clients.has(node))) this.#options.cluster.signals.send(WHO, null);
  }

  #delivered(delivery: Delivery): void {
    this.#call(delivery);
    const { identity, topic, payload } = delivery;
    if (!isDevice(identity)) return;
    this.#options.cluster.signals.send(DELIVERED, { identity, topic, payload: payload.toString("base64") });
  }

  #acknowledged(message: Json, from: string): void {
    const told = deliveredSchema.safeParse(message);
    if (from === this.#options.cluster.nodeId || !told.success) return;
    const { identity, topic, payload } = told.data;
    this.#call({ identity, topic, payload: Buffer.from(payload, "base64") });
  }

  #takenOver(takeOver: TakeOver): void {
    for (const listener of this.#takeOverListeners) listener(takeOver);
  }

  #call(delivery: Delivery): void {
    for (const listener of this.#deliveryListeners) listener(delivery);
  }
}

function isDevice(identity: string): boolean {
  return identity.startsWith("device:") || identity.startsWith("service:");
}
