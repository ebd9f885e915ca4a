import { z } from "zod";
import type { Signals } from "../cluster/cluster.ts";

/**
 * The most entries of each collection: of user ids, addresses and pairs whose failures are counted, and of remembered
 * pairs. When a collection has more, its oldest entry is removed.
 */
const MAX_COUNTED = 10_000;
const FAILED = "login-failed";
const DONE = "login-done";

/** An attempt to log in as a user from an address. */
interface Attempt {
  userId: string;
  address: string;
}

/** Too many failures: even the correct password is not checked. */
export class TooManyFailuresError extends Error {
  override name = "TooManyFailuresError";
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super(`Too many failed logins: try again in ${retryAfterSeconds} s`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export interface LoginGuardOptions {
  /**
   * The number of failures of one user id after which logins of this user must wait. They must wait at the address of
   * the failures, and at addresses where the user has not logged in before.
   */
  maxFailures: number;
  /** The number of failures from one address after which users who have not logged in from there must wait. */
  maxAddressFailures: number;
  /** How long failures are counted, in milliseconds from the first failure. */
  windowMs: number;
  signals: Pick<Signals, "send" | "on">;
  nodeId: string;
}

/**
 * Slows down the guessing of passwords. Failures are counted by user id (many addresses, one victim) and by address
 * (one address, many victims). Many people may share an address: an office, a mobile network, a proxy that is not in
 * TRUSTED_PROXIES. So at an address where a user has logged in before, only failures of that user from that address
 * count. Otherwise strangers could lock everybody out by guessing. Nodes send their failures and logins to each other.
 * If such a message is lost, the other nodes miss only that attempt.
 */
export class LoginGuard {
  readonly #options: LoginGuardOptions;
  readonly #users: FailureCounts;
  readonly #addresses: FailureCounts;
  /** By pair of user id and address. */
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
      listen(FAILED, (attempt) => this.#count(attempt, 1)),
      listen(DONE, (attempt) => this.#remember(attempt)),
    ];
  }

  /**
   * Runs one attempt, and counts it if it fails. While an attempt runs, it is counted as failed, so a thousand
   * simultaneous attempts get no further than a thousand successive ones. An attempt whose `verify` throws is not
   * counted.
   * @param verify resolves to undefined when the login failed
   * @throws {TooManyFailuresError}
   */
  async attempt<Result>(attempt: Attempt, verify: () => Promise<Result | undefined>): Promise<Result | undefined> {
    const { maxFailures, maxAddressFailures, signals } = this.#options;
    const { userId, address } = attempt;
    const pair = pairOf(attempt);
    const strangerWaitMs = () =>
      Math.max(this.#users.waitMs(userId, maxFailures), this.#addresses.waitMs(address, maxAddressFailures));
    const waitMs = Math.max(this.#pairs.waitMs(pair, maxFailures), this.#knownPairs.has(pair) ? 0 : strangerWaitMs());
    if (waitMs > 0) throw new TooManyFailuresError(Math.ceil(waitMs / 1000));
    this.#count(attempt, 1);
    let result: Result | undefined;
    try {
      result = await verify();
    } catch (error) {
      this.#count(attempt, -1);
      throw error;
    }
    signals.send(result === undefined ? FAILED : DONE, { userId, address });
    if (result !== undefined) {
      // A user who knows the password is not guessing. Other failures from the same address are still counted.
      this.#users.clear(userId);
      this.#pairs.clear(pair);
      this.#addresses.add(address, -1);
      this.#remember(attempt);
    }
    return result;
  }

  /**
   * Remembers that a refresh has proved the user to be logged in at this address. Failures of other users from the
   * address then no longer affect this user.
   */
  recordRefresh(attempt: Attempt): void {
    if (!this.#knownPairs.has(pairOf(attempt))) this.#options.signals.send(DONE, { ...attempt });
    this.#remember(attempt);
  }

  stop(): void {
    for (const end of this.#unsubscribe) end();
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

const attemptSchema = z.object({ userId: z.string(), address: z.string() });

const pairOf = ({ userId, address }: Attempt) => JSON.stringify([userId, address]);

class FailureCounts {
  readonly #windowMs: number;
  readonly #counts = new Map<string, { failures: number; until: number }>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** The time until the next attempt is allowed, milliseconds. 0 when it is allowed now. */
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
