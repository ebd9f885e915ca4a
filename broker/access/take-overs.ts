import type { Client } from "aedes";
import type { TakeOver } from "../../platform/publications.ts";
import type { ClientRegistry } from "./client-registry.ts";

/** A client that has connected to a node. */
export interface ClientAnnouncement extends TakeOver {
  /** Identifies the connection within its node. */
  token: string;
}

interface TakeOversOptions {
  registry: ClientRegistry;
  /** Appends the announcement to the log of all nodes. */
  announce(client: ClientAnnouncement): Promise<void>;
}

/**
 * Keeps only the newest connection of each client over all nodes [MQTT-3.1.4-2], and closes only connections of the
 * same identity. All nodes follow the same log, whose order decides which connection is the newest. So exactly one
 * connection stays when a client connects to two nodes at the same moment.
 */
export class TakeOvers {
  readonly #options: TakeOversOptions;
  /**
   * Clients of this node whose own announcement has not come back yet. They are newer than every client whose
   * announcement is read before theirs.
   */
  readonly #unseen = new Map<string, Client>();
  #count = 0;

  constructor(options: TakeOversOptions) {
    this.#options = options;
  }

  async connected(client: Client, { clientId, identity }: TakeOver): Promise<void> {
    const token = String(++this.#count);
    this.#unseen.set(token, client);
    client.conn.once("close", () => this.#unseen.delete(token));
    await this.#options.announce({ token, clientId, identity });
  }

  /** @param here whether the client has connected to this node */
  announced({ token, clientId, identity }: ClientAnnouncement, here: boolean): void {
    if (here) {
      this.#unseen.delete(token);
      return;
    }
    const newer = new Set(this.#unseen.values());
    this.#options.registry.closeOlderThan({ clientId, identity }, (client) => !newer.has(client));
  }
}
