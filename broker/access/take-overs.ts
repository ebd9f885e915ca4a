import type { Client } from "aedes";
import type { ClientRegistry } from "./client-registry.ts";

export interface TakeOversOptions {
  registry: ClientRegistry;
  /** Writes into the log of all nodes that the client has connected. */
  announce(client: { token: string; clientId: string; identity: string }): Promise<void>;
}

/**
 * One connection to a client id over all nodes [MQTT-3.1.4-2]: the newest. Newest is who comes later in the log that all
 * nodes follow, so that of two connections made at one moment at two nodes one stays, and not none.
 *
 * Only a connection of the same identity is ended. Who has somebody else's client id at another node gets nothing by it:
 * a stored session is its owner's, and a clean session shares nothing.
 */
export class TakeOvers {
  readonly #options: TakeOversOptions;
  /** Connected and not yet seen in the log. What stands before it there is older. */
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

  /** An entry of the log: a client has connected at this node or at another. */
  seen({
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
    this.#options.registry.yieldTo({ clientId, identity }, (client) => !newer.has(client));
  }
}
