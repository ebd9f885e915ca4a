import type { Logger } from "pino";
import type { Bearer } from "../../platform/identity.ts";
import type { ClientRegistry } from "../access/client-registry.ts";
import type { Devices } from "../access/devices.ts";
import { deviceIdentity } from "../access/ended-identities.ts";
import type { SessionOwner } from "../access/session-owner.ts";
import type { BrokerStorage } from "./storage.ts";

/** Expiry intervals of sessions are at least this exact. (A client that comes back later than it may gets a new session.) */
const SWEEP_INTERVAL_MS = 60_000;

interface SessionCleanupOptions {
  storage: BrokerStorage;
  registry: ClientRegistry;
  devices: Pick<Devices, "onChange">;
  hasEnded(bearer: Bearer): boolean;
  disconnect(matches: (client: Bearer) => boolean): void;
  sessionHours: number;
  /** Milliseconds since 1970. */
  now(): number;
  logger: Logger;
}

/** Discards expired sessions, and sessions whose owner has lost access. */
export class SessionCleanup {
  readonly #options: SessionCleanupOptions;
  #timer: NodeJS.Timeout | undefined;
  #removeListener = () => {};

  constructor(options: SessionCleanupOptions) {
    this.#options = options;
  }

  start(): void {
    this.#removeListener = this.#options.devices.onChange((id) => this.#deviceChanged(id));
    // Owners may have lost access while no server was running.
    void this.discardEnded();
    this.#discardExpired();
    this.#timer = setInterval(() => this.#discardExpired(), SWEEP_INTERVAL_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#removeListener();
  }

  /** @returns how many. Never rejects. */
  discardEnded(): Promise<number> {
    return this.#discardWhere(this.#options.hasEnded);
  }

  #deviceChanged(id: string): void {
    const { disconnect, hasEnded } = this.#options;
    const isDevice = ({ identity }: Bearer) => deviceIdentity(identity)?.id === id;
    disconnect(isDevice);
    // Sessions of earlier versions of the server are discarded too: they do not show with which secret they were
    // created.
    void this.#discardWhere((owner) => isDevice(owner) && (owner.issuedAt === undefined || hasEnded(owner)));
  }

  /** Never rejects: the next change, or expiry, discards sessions that remain after a failure. */
  async #discardWhere(matches: (owner: SessionOwner) => boolean): Promise<number> {
    const { storage, logger } = this.#options;
    try {
      const discarded = await storage.discardWhere(matches);
      if (discarded > 0) logger.info({ discarded }, "sessions of removed or revoked identities discarded");
      return discarded;
    } catch (error) {
      logger.error({ err: error }, "sessions of removed or revoked identities could not be discarded");
      return 0;
    }
  }

  #discardExpired(): void {
    const { storage, registry, sessionHours, now, logger } = this.#options;
    const moment = now() - sessionHours * 3_600_000;
    storage
      .expire(moment, (key) => registry.identityAt(key) !== undefined)
      .then((expired) => {
        if (expired > 0) logger.info({ expired }, "expired sessions discarded");
      })
      .catch((error: unknown) => logger.error({ err: error }, "expired sessions could not be discarded"));
  }
}
