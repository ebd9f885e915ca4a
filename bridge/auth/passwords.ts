import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from "node:crypto";
import { availableParallelism } from "node:os";
import { z } from "zod";

export const MIN_PASSWORD_LENGTH = 10;
export const MAX_PASSWORD_LENGTH = 1_024;
/**
 * Hashes computed at once. Each takes some 32 MiB, a processor, and a thread of the four that Node.js has for the disk too:
 * two threads are left to the journal and a processor to the event loop, however many try to log in.
 */
export const MAX_HASHES_AT_ONCE = availableParallelism() > 2 ? 2 : 1;
/** Hashes that wait for their turn; beyond, whoever asks is told to come back. */
export const MAX_WAITING_HASHES = 64;

/** OWASP's recommendation for scrypt has N = 2^17; 2^15 is what a Raspberry Pi does in half a second. */
const COST = { N: 2 ** 15, r: 8, p: 1 };
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** Of what a stored hash may ask for, so that a damaged document cannot take the memory. */
const MAX_MEMORY_BYTES = 256 * 1024 * 1024;

export const passwordSchema = z
  .string()
  .min(MIN_PASSWORD_LENGTH, `must have at least ${MIN_PASSWORD_LENGTH} characters`)
  .max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`);

export const passwordHashSchema = z.object({
  /** Both base64url. */
  salt: z.string(),
  hash: z.string(),
  /** The parameters of scrypt it was made with, so that another release may choose others. */
  scrypt: z
    .object({
      N: z.number().int().min(2),
      r: z.number().int().min(1).max(64),
      p: z.number().int().min(1).max(16),
    })
    .refine(({ N, r }) => Number.isInteger(Math.log2(N)) && 128 * N * r <= MAX_MEMORY_BYTES, "is out of range"),
});
export type PasswordHash = z.infer<typeof passwordHashSchema>;

/** So many passwords are being looked at that one more is not even begun. */
export class TooManyHashesError extends Error {
  override name = "TooManyHashesError";
}

/** What somebody who does not exist is compared with, so that he takes as long as one who does. */
const NOBODY: PasswordHash = {
  salt: randomBytes(SALT_BYTES).toString("base64url"),
  hash: randomBytes(KEY_BYTES).toString("base64url"),
  scrypt: COST,
};

/** Makes and compares hashes of passwords by scrypt (RFC 7914), a few at a time. */
export class Passwords {
  readonly #waiting: (() => void)[] = [];
  #working = 0;

  /** @throws {TooManyHashesError} */
  async hash(password: string): Promise<PasswordHash> {
    const salt = randomBytes(SALT_BYTES);
    const hash = await this.#derive(password, salt, COST);
    return { salt: salt.toString("base64url"), hash: hash.toString("base64url"), scrypt: COST };
  }

  /**
   * @param stored undefined for somebody who has none: false, after as long
   * @throws {TooManyHashesError}
   */
  async matches(password: string, stored: PasswordHash | undefined): Promise<boolean> {
    const { salt, hash, scrypt: cost } = stored ?? NOBODY;
    const derived = await this.#derive(password, Buffer.from(salt, "base64url"), cost);
    const wanted = Buffer.from(hash, "base64url");
    return wanted.length === derived.length && timingSafeEqual(derived, wanted) && stored !== undefined;
  }

  async #derive(password: string, salt: Buffer, cost: typeof COST): Promise<Buffer> {
    if (this.#working >= MAX_HASHES_AT_ONCE) {
      if (this.#waiting.length >= MAX_WAITING_HASHES)
        throw new TooManyHashesError(`${MAX_WAITING_HASHES} logins wait already: try again in a moment`);
      // Whoever is done hands on its place, and counts no less.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#working++;
    try {
      // Keyboards differ in how they write an accent.
      return await derive(password.normalize("NFKC"), salt, { ...cost, maxmem: 2 * 128 * cost.N * cost.r });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#working--;
      else next();
    }
  }
}

function derive(password: string, salt: Buffer, options: ScryptOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, KEY_BYTES, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}
