import type { CloseCode } from "../../contract/codes.ts";
import { MAX_UNANSWERED_PINGS } from "./heartbeat.ts";
import type { Peer } from "./peer.ts";
import type { Session } from "./session.ts";
import type { ConnectionInfo, SocketsStats } from "./sockets.ts";

export class Registry {
  readonly #peers = new Map<string, Peer>();
  #onEmpty: (() => void) | undefined;

  add(peer: Peer): void {
    this.#peers.set(peer.connection.id, peer);
  }

  remove(peer: Peer): void {
    this.#peers.delete(peer.connection.id);
    if (this.#peers.size === 0) this.#onEmpty?.();
  }

  get(connectionId: string): Peer | undefined {
    return this.#peers.get(connectionId);
  }

  values(): Iterable<Peer> {
    return this.#peers.values();
  }

  /** The authenticated connections. The list is a copy: it does not change while it is read. */
  sessions(): Session[] {
    return [...this.#peers.values()].flatMap(({ session }) => session ?? []);
  }

  connectionInfos(): ConnectionInfo[] {
    // The times of a connection are monotonic. They are converted to the system's clock.
    const dateOf = (time: number) => new Date(Date.now() - performance.now() + time).toISOString();
    return this.sessions().map(({ connection, identity, subscriber }) => ({
      connection_id: connection.id,
      user_id: identity.userId,
      connected_at: dateOf(connection.openedAt),
      ip_address: connection.address,
      last_seen: dateOf(connection.heardAt),
      channels: [...subscriber.channels.keys()],
      lagging: subscriber.lagging,
      queued_bytes: connection.queuedBytes,
    }));
  }

  stats(): Pick<SocketsStats, "connections" | "unauthenticated" | "users" | "healthy" | "lagging"> {
    const sessions = this.sessions();
    const users = new Set<string>();
    let healthy = 0;
    let lagging = 0;
    for (const { connection, identity, subscriber } of sessions) {
      users.add(identity.userId);
      if (subscriber.lagging) lagging++;
      else if (connection.unansweredPings < MAX_UNANSWERED_PINGS) healthy++;
    }
    const connections = sessions.length;
    return { connections, unauthenticated: this.#peers.size - connections, users: users.size, healthy, lagging };
  }

  /** Closes all connections. Terminates those that are still open after `timeoutMs`. */
  async closeAll(code: CloseCode, reason: string, timeoutMs: number): Promise<void> {
    for (const { connection } of this.#peers.values()) connection.close(code, reason);
    if (this.#peers.size === 0) return;
    const timer = setTimeout(() => {
      for (const { connection } of this.#peers.values()) connection.ws.terminate();
    }, timeoutMs);
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    clearTimeout(timer);
  }
}
