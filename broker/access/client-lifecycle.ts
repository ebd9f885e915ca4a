import type { Logger } from "pino";
import type { Origin } from "./admission.ts";
import { type BrokerClient, type EndReason, endClient } from "./broker-client.ts";
import type { ClientAccess, ClientRegistry } from "./client-registry.ts";
import { NotAcceptedError, RefusedConnectionError } from "./errors.ts";
import { watchLink } from "./link-watch.ts";
import { namesOf, sessionName } from "./session-names.ts";

/** The longest wait of `setTimeout`, which waits 1 ms when given a longer one. */
const MAX_TIMER_MS = 2_147_483_647;
const STOPPING = "the server is stopping";
const REPLACED = "it has connected again under the same client id";
/** The program ended or the link broke: the broker cannot distinguish these. */
const CLOSED = "its connection was closed without DISCONNECT";

interface ClientLifecycleOptions {
  registry: ClientRegistry;
  originOf(client: BrokerClient): Origin;
  /** See `AuthorizePublish.bar`. */
  bar(client: BrokerClient, access: ClientAccess): void;
  /** Called when the client of a persistent session has disconnected. The session's age counts from now. */
  sessionLeft(key: string): Promise<void>;
  heartbeatMs: number;
  /** The clock of tokens, milliseconds since 1970. */
  tokenNow: () => number;
  logger: Logger;
}

/** Handles each client from its accepted CONNECT to the end of its connection. */
export class ClientLifecycle {
  readonly #options: ClientLifecycleOptions;
  /** Clients whose connection error has been logged. */
  readonly #failed = new WeakSet<BrokerClient>();
  readonly #expiryTimers = new WeakMap<BrokerClient, NodeJS.Timeout>();
  #isStopping = false;

  constructor(options: ClientLifecycleOptions) {
    this.#options = options;
  }

  readonly connected = (client: BrokerClient): void => {
    const { registry, originOf, heartbeatMs, logger } = this.#options;
    const access = registry.get(client);
    if (access === undefined) {
      // The connection closed during authentication, so the registry has removed the client.
      client.close();
      return;
    }
    registry.register(client);
    const { address, transport, expiresAt, keepaliveS } = access;
    const { probe } = originOf(client);
    if (keepaliveS === 0 && probe !== undefined) watchLink(client.conn, probe, heartbeatMs);
    logger.debug({ ...namesOf(access), address, transport }, "client connected");
    if (expiresAt !== undefined) this.#closeAt(client, access, expiresAt);
    // Before the session is released to other nodes.
    client.conn.prependOnceListener("close", () => this.#closed(client, access));
  };

  /** An error has ended the client's connection. Logs the first error, unless it was logged where it was thrown. */
  readonly failed = (client: BrokerClient, error: Error): void => {
    const { registry, originOf, logger } = this.#options;
    const access = registry.get(client);
    if (access !== undefined) access.disconnectReason ??= error.message;
    const isLogged = error instanceof RefusedConnectionError || error instanceof NotAcceptedError;
    if (isLogged || this.#failed.has(client)) return;
    this.#failed.add(client);
    const { address, transport } = originOf(client);
    // A client has no id before its CONNECT.
    const name = client.id === null ? {} : sessionName(client.id);
    // For an authenticated client, "client disconnected" is logged with this reason.
    const level = access === undefined ? "info" : "debug";
    logger[level]({ address, transport, ...name, why: error.message }, "connection ended with an error");
  };

  disconnect(matches: (client: ClientAccess) => boolean): number {
    const matching = [...this.#options.registry.entries()].filter(([, access]) => matches(access));
    for (const [client, access] of matching)
      this.#end(client, access, { reason: "revoked", why: "its token or secret was revoked, removed or changed" });
    return matching.length;
  }

  /** The broker is stopping. Connections that it closes from now on do not change the age of their sessions. */
  stop(): void {
    this.#isStopping = true;
  }

  #closed(client: BrokerClient, access: ClientAccess): void {
    const { registry, sessionLeft, logger } = this.#options;
    const { address, transport, connectedAt } = access;
    clearTimeout(this.#expiryTimers.get(client));
    const isReplaced = registry.isReplaced(client, access);
    const why = access.disconnectReason ?? (this.#isStopping ? STOPPING : isReplaced ? REPLACED : CLOSED);
    const connectedSeconds = Math.round((Date.now() - connectedAt) / 1000);
    // When the log level is `info`, this is the only line about a connection of a client.
    logger.info({ ...namesOf(access), address, transport, connectedSeconds, why }, "client disconnected");
    if (client.clean || this.#isStopping || isReplaced) return;
    sessionLeft(access.sessionKey).catch((error: unknown) => {
      logger.error({ err: error, ...namesOf(access) }, "time of a session's last use could not be stored");
    });
  }

  #closeAt(client: BrokerClient, access: ClientAccess, moment: number): void {
    const { tokenNow } = this.#options;
    const wait = Math.min(Math.max(0, moment - tokenNow()), MAX_TIMER_MS);
    const close = (): void => {
      if (tokenNow() < moment) this.#closeAt(client, access, moment);
      else {
        this.#options.logger.debug(namesOf(access), "client token expired");
        this.#end(client, access, { reason: "token-expired", why: "its token has expired" });
      }
    };
    this.#expiryTimers.set(client, setTimeout(close, wait));
  }

  #end(client: BrokerClient, access: ClientAccess, { reason, why }: { reason: EndReason; why: string }): void {
    access.disconnectReason ??= why;
    this.#options.bar(client, access);
    endClient(client, reason);
  }
}
