import type { Client } from "aedes";
import type { ClientRegistry } from "./client-registry.ts";

interface TakeOversOptions {
  registry: ClientRegistry;
  /** Appends an entry to the log of all nodes: the client has connected. */
  announce(client: { token: string; clientId: string; identity: string }): Promise<void>;
}

/**
 * Keeps only the newest connection of each client over all nodes [MQTT-3.1.4-2]. The order of the log that all nodes
 * follow decides which is the newest. So, when a client connects to two nodes at the same moment, exactly one
 * connection stays.
 *
 * Only connections of the same identity are closed. A client that uses another identity's client id at another node
 * gains nothing: a stored session belongs to its owner, and a clean session shares nothing.
 */
export class TakeOvers {
  readonly #options: TakeOversOptions;
  /** Clients whose own log entry has not been read yet: entries that are read earlier precede their connection. */
  readonly #unseen = new Map<string, Client>();
  #count = 0;

  constructor(options: TakeOversOptions) {
    this.#options = options;
  }

  async connected(client: Client, { clientId, identity }: { clientId: string; identity: string }): Promise<void> {
    const token = String(++this.#count);
    this.#unseen.set(token, client);
    client.conn.once("close", () => this.#unseen.delete(token));
    await this.#options.announce({ token, clientId, identity });
  }

  /** Handles a log entry: a client has connected to this node or to another. */
  announced({
    here,
    token,
    clientId,
    identity,
  }: {
    here: boolean;
    token: string;
    clientId: string;
    identity: string;
  }): void {
    if (here) {
      this.#unseen.delete(token);
      return;
    }
    const newer = new Set(this.#unseen.values());
    this.#options.registry.closeOlder({ clientId, identity }, (client) => !newer.has(client));
  }
}
