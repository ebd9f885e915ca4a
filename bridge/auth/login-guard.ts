import { z } from "zod";
import type { Signals } from "../cluster/cluster.ts";

/** User ids, and addresses, whose failures are counted, and addresses users came from; beyond, the longest known are forgotten. */
export const MAX_COUNTED = 10_000;
const FAILED = "login-failed";
const DONE = "login-done";

/** Who tries to log in, and from where. */
export interface Attempt {
  userId: string;
  address: string;
}

/** Too many failures: not even the right password is looked at. */
export class TooManyFailuresError extends Error {
  override name = "TooManyFailuresError";
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super(`Too many failed logins: try again in ${retryAfterSeconds} s`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export interface LoginGuardOptions {
  /** Failures of one user id before it waits: at the address they come from, and at those it has not logged in from. */
  maxFailures: number;
  /** Failures from one address, of any user id, before those wait that have not logged in from there. */
  maxAddressFailures: number;
  /** How long failures count, from the first, milliseconds. */
  windowMs: number;
  signals: Pick<Signals, "send" | "on">;
  nodeId: string;
  /** Milliseconds, of any clock that runs forward. Default: the process's. */
  now?: () => number;
}

/**
 * Slows down whoever guesses passwords, by user id (many addresses, one victim) and by address (one address, many victims).
 * Many people may share an address: an office, a mobile network, a proxy that is not in TRUSTED_PROXIES. So where a user has
 * logged in before, only failures of that user from that address count, or strangers who guess could keep everybody out.
 * Nodes tell each other; what was not told is only not known there.
 */
export class LoginGuard {
  readonly #options: LoginGuardOptions;
  readonly #users: FailureCounts;
  readonly #addresses: FailureCounts;
  /** By user id and address together. */
  readonly #pairs: FailureCounts;
  /** Where users have logged in, the newest last. */
  readonly #homes = new Set<string>();
  readonly #ends: readonly (() => void)[];

  constructor(options: LoginGuardOptions) {
    this.#options = options;
    const now = options.now ?? (() => performance.now());
    this.#users = new FailureCounts(options.windowMs, now);
    this.#addresses = new FailureCounts(options.windowMs, now);
    this.#pairs = new FailureCounts(options.windowMs, now);
    const hear = (signal: string, act: (attempt: Attempt) => void) =>
      options.signals.on(signal, (message, from) => {
        const attempt = attemptSchema.safeParse(message);
        if (from !== options.nodeId && attempt.success) act(attempt.data);
      });
    this.#ends = [hear(FAILED, (attempt) => this.#count(attempt, 1)), hear(DONE, (attempt) => this.#remember(attempt))];
  }

  /**
   * Lets one attempt be made, and counts its failure. It counts from its begin, so that a thousand at once are no more
   * than one after the other; what ends without a verdict does not count.
   * @param verify undefined is a failure
   * @throws {TooManyFailuresError}
   */
  async attempt<Result>(attempt: Attempt, verify: () => Promise<Result | undefined>): Promise<Result | undefined> {
    const { maxFailures, maxAddressFailures, signals } = this.#options;
    const { userId, address } = attempt;
    const pair = homeOf(attempt);
    const ofStranger = () =>
      Math.max(this.#users.waitMs(userId, maxFailures), this.#addresses.waitMs(address, maxAddressFailures));
    const waitMs = Math.max(this.#pairs.waitMs(pair, maxFailures), this.#homes.has(pair) ? 0 : ofStranger());
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
      // Whoever knows the password has nothing to guess; what else comes from his address still counts.
      this.#users.clear(userId);
      this.#pairs.clear(pair);
      this.#addresses.add(address, -1);
      this.#remember(attempt);
    }
    return result;
  }

  /** The user is logged in at this address, as a renewed login has shown: what others fail at there is not held against it. */
  welcome(attempt: Attempt): void {
    if (!this.#homes.has(homeOf(attempt))) this.#options.signals.send(DONE, { ...attempt });
    this.#remember(attempt);
  }

  stop(): void {
    for (const end of this.#ends) end();
  }

  #remember(attempt: Attempt): void {
    const home = homeOf(attempt);
    this.#homes.delete(home);
    this.#homes.add(home);
    const [oldest] = this.#homes;
    if (this.#homes.size > MAX_COUNTED && oldest !== undefined) this.#homes.delete(oldest);
  }

  #count(attempt: Attempt, by: 1 | -1): void {
    const { userId, address } = attempt;
    this.#pairs.add(homeOf(attempt), by);
    this.#users.add(userId, by);
    this.#addresses.add(address, by);
  }
}

const attemptSchema = z.object({ userId: z.string(), address: z.string() });

const homeOf = ({ userId, address }: Attempt) => JSON.stringify([userId, address]);

class FailureCounts {
  readonly #windowMs: number;
  readonly #now: () => number;
  readonly #counts = new Map<string, { failures: number; until: number }>();

  constructor(windowMs: number, now: () => number) {
    this.#windowMs = windowMs;
    this.#now = now;
  }

  /** 0 when one more may be tried. */
  waitMs(key: string, max: number): number {
    const counted = this.#counts.get(key);
    return counted === undefined || counted.failures < max ? 0 : Math.max(0, counted.until - this.#now());
  }

  add(key: string, by: 1 | -1): void {
    const counted = this.#counts.get(key);
    if (counted !== undefined && counted.until > this.#now()) {
      counted.failures += by;
      if (counted.failures <= 0) this.#counts.delete(key);
      return;
    }
    this.#counts.delete(key);
    if (by < 0) return;
    this.#counts.set(key, { failures: 1, until: this.#now() + this.#windowMs });
    // The window is the same for all, so the first to come is the first that is over.
    const [oldest] = this.#counts.keys();
    if (this.#counts.size > MAX_COUNTED && oldest !== undefined) this.#counts.delete(oldest);
  }

  clear(key: string): void {
    this.#counts.delete(key);
  }
}
