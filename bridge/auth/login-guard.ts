import { z } from "zod";
import { StoreUnavailableError } from "../../platform/errors.ts";
import type { Rates, Signals } from "../cluster/cluster.ts";

/** The most user ids, addresses and pairs that are kept. Above this, the oldest is removed. */
const MAX_COUNTED = 10_000;
const LOGGED_IN = "login-done";
const REFRESHED = "login-refreshed";

const attemptSchema = z.object({ userId: z.string(), address: z.string() });
type Attempt = z.infer<typeof attemptSchema>;

/** Even the correct password is not checked. */
export class TooManyFailuresError extends Error {
  override name = "TooManyFailuresError";
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super(`Too many failed logins: try again in ${retryAfterSeconds} s`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

interface LoginGuardOptions {
  /**
   * After this many failures, the user must wait: at the address of the failures, and at addresses where the user has
   * not logged in before.
   */
  maxFailures: number;
  /** After this many failures from one address, users who have not logged in from there must wait. */
  maxAddressFailures: number;
  /** How long failures count, starting at the first one. */
  windowMs: number;
  signals: Pick<Signals, "send" | "on">;
  /** Counts the failures at all nodes. Undefined: this is the only node. */
  rates: Rates | undefined;
  nodeId: string;
}

/**
 * Slows down the guessing of passwords. Failures are counted by user id (many addresses, one victim) and by address
 * (one address, many victims). Many people may share an address: an office, a mobile network, a proxy that is not in
 * TRUSTED_PROXIES. If every failure at an address counted for everybody there, a stranger could lock all of them out.
 * So at an address where a user has logged in before, only that user's failures from there count. Nodes count failures
 * together in Redis, and each node by itself while Redis is unavailable. Nodes send logins to each other. If such a
 * message is lost, the other nodes do not know that the user has logged in there.
 */
export class LoginGuard {
  readonly #options: LoginGuardOptions;
  readonly #users: FailureCounts;
  readonly #addresses: FailureCounts;
  readonly #pairs: FailureCounts;
  /** Pairs of user id and address with a successful login, the newest last. */
  readonly #knownPairs = new Set<string>();
  readonly #unsubscribe: readonly (() => void)[];

  constructor(options: LoginGuardOptions) {
    this.#options = options;
    this.#users = new FailureCounts(options.windowMs);
    this.#addresses = new FailureCounts(options.windowMs);
    this.#pairs = new FailureCounts(options.windowMs);
    const listen = (signal: string, handle: (attempt: Attempt) => void) =>
      options.signals.on(signal, (message, from) => {
        const attempt = attemptSchema.safeParse(message);
        if (from !== options.nodeId && attempt.success) handle(attempt.data);
      });
    this.#unsubscribe = [
      listen(LOGGED_IN, (attempt) => this.#succeeded(attempt)),
      listen(REFRESHED, (attempt) => this.#remember(attempt)),
    ];
  }

  /**
   * Runs one attempt. It counts as failed while it runs, so a thousand simultaneous attempts get no further than a
   * thousand successive ones. An attempt whose `verify` throws does not count.
   * @param verify resolves to undefined when the login failed
   * @throws {TooManyFailuresError}
   */
  async attempt<Result>(attempt: Attempt, verify: () => Promise<Result | undefined>): Promise<Result | undefined> {
    this.#assertAllowed(attempt);
    this.#count(attempt, 1);
    let result: Result | undefined;
    try {
      await this.#countAtAllNodes(attempt);
      result = await verify();
    } catch (error) {
      this.#count(attempt, -1);
      await this.#forget(attempt, "one");
      throw error;
    }
    if (result === undefined) return undefined;
    this.#succeeded(attempt);
    this.#addresses.add(attempt.address, -1);
    this.#options.signals.send(LOGGED_IN, { ...attempt });
    await this.#forget(attempt, "all");
    return result;
  }

  /** A refresh proves a login at this address: failures of other users there do not affect this user from now on. */
  recordRefresh(attempt: Attempt): void {
    if (!this.#knownPairs.has(pairOf(attempt))) this.#options.signals.send(REFRESHED, { ...attempt });
    this.#remember(attempt);
  }

  stop(): void {
    for (const end of this.#unsubscribe) end();
  }

  /** @throws {TooManyFailuresError} this node has counted too many failures */
  #assertAllowed(attempt: Attempt): void {
    const { maxFailures, maxAddressFailures } = this.#options;
    const { userId, address } = attempt;
    const pair = pairOf(attempt);
    const strangerWaitMs = () =>
      Math.max(this.#users.waitMs(userId, maxFailures), this.#addresses.waitMs(address, maxAddressFailures));
    const waitMs = Math.max(this.#pairs.waitMs(pair, maxFailures), this.#knownPairs.has(pair) ? 0 : strangerWaitMs());
    assertNoWait(waitMs);
  }

  /** @throws {TooManyFailuresError} the nodes together have counted too many failures */
  async #countAtAllNodes(attempt: Attempt): Promise<void> {
    const { rates, maxFailures, maxAddressFailures, windowMs } = this.#options;
    if (rates === undefined) return;
    const window = (name: keyof typeof RATES, limit: number) => ({
      name: RATES[name],
      key: keysOf(attempt)[name],
      limit,
    });
    const windows = [window("pair", maxFailures), window("user", maxFailures), window("address", maxAddressFailures)];
    const [pair = 0, user = 0, address = 0] = await rates.exceededForMs(windows, windowMs).catch(noneIfUnavailable);
    assertNoWait(Math.max(pair, this.#knownPairs.has(pairOf(attempt)) ? 0 : Math.max(user, address)));
  }

  /** Takes back the attempt at all nodes. `all`: also the earlier failures of the user, but not those of the address. */
  async #forget(attempt: Attempt, events: "one" | "all"): Promise<void> {
    const { rates } = this.#options;
    if (rates === undefined) return;
    const { pair, user, address } = keysOf(attempt);
    await Promise.all([
      rates.forget(RATES.pair, pair, events),
      rates.forget(RATES.user, user, events),
      rates.forget(RATES.address, address, "one"),
    ]).catch(noneIfUnavailable);
  }

  /** The user knows the password and is not guessing. Failures of other users at this address still count. */
  #succeeded(attempt: Attempt): void {
    this.#users.clear(attempt.userId);
    this.#pairs.clear(pairOf(attempt));
    this.#remember(attempt);
  }

  #remember(attempt: Attempt): void {
    const pair = pairOf(attempt);
    this.#knownPairs.delete(pair);
    this.#knownPairs.add(pair);
    const [oldest] = this.#knownPairs;
    if (this.#knownPairs.size > MAX_COUNTED && oldest !== undefined) this.#knownPairs.delete(oldest);
  }

  #count(attempt: Attempt, by: 1 | -1): void {
    const { userId, address } = attempt;
    this.#pairs.add(pairOf(attempt), by);
    this.#users.add(userId, by);
    this.#addresses.add(address, by);
  }
}

const pairOf = ({ userId, address }: Attempt) => JSON.stringify([userId, address]);
const keysOf = (attempt: Attempt) => ({ pair: pairOf(attempt), user: attempt.userId, address: attempt.address });
/** The names of the rates that nodes share. */
const RATES = { pair: "login-pair", user: "login-user", address: "login-address" } as const;

function assertNoWait(waitMs: number): void {
  if (waitMs > 0) throw new TooManyFailuresError(Math.ceil(waitMs / 1000));
}

function noneIfUnavailable(error: unknown): [] {
  if (error instanceof StoreUnavailableError) return [];
  throw error;
}

class FailureCounts {
  readonly #windowMs: number;
  readonly #counts = new Map<string, { failures: number; until: number }>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** Milliseconds until the next attempt is allowed. 0 when it is allowed now. */
  waitMs(key: string, max: number): number {
    const counted = this.#counts.get(key);
    return counted === undefined || counted.failures < max ? 0 : Math.max(0, counted.until - performance.now());
  }

  add(key: string, by: 1 | -1): void {
    const counted = this.#counts.get(key);
    if (counted !== undefined && counted.until > performance.now()) {
      counted.failures += by;
      if (counted.failures <= 0) this.#counts.delete(key);
      return;
    }
    this.#counts.delete(key);
    if (by < 0) return;
    this.#counts.set(key, { failures: 1, until: performance.now() + this.#windowMs });
    // All windows have the same length, so the oldest entry expires first.
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > MAX_COUNTED && oldest !== undefined) this.#counts.delete(oldest);
  }

  clear(key: string): void {
    this.#counts.delete(key);
  }
}
