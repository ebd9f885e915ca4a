import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from "node:crypto";
import { availableParallelism } from "node:os";
import { promisify } from "node:util";
import { z } from "zod";

export const MIN_PASSWORD_LENGTH = 10;
export const MAX_PASSWORD_LENGTH = 1_024;
/**
 * A hash takes about 32 MiB, one processor, and one of Node's four threads for the disk. However many clients log in,
 * two threads remain for the journal and one processor for the event loop.
 */
export const MAX_HASHES_AT_ONCE = availableParallelism() > 2 ? 2 : 1;
/** With more waiting hashes, clients must retry. */
export const MAX_WAITING_HASHES = 64;

/** OWASP recommends N = 2^17 for scrypt. With 2^15, a Raspberry Pi needs half a second for a hash. */
const COST = { N: 2 ** 15, r: 8, p: 1 };
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** A damaged document may hold any parameters. */
const MAX_MEMORY_BYTES = 256 * 1024 * 1024;

export const passwordSchema = z
  .string()
  .min(MIN_PASSWORD_LENGTH, `must have at least ${MIN_PASSWORD_LENGTH} characters`)
  .max(MAX_PASSWORD_LENGTH, `must have at most ${MAX_PASSWORD_LENGTH} characters`);

export const passwordHashSchema = z.object({
  /** Base64url, like `hash`. */
  salt: z.string(),
  hash: z.string(),
  /** A later release may choose other parameters for new hashes. */
  scrypt: z
    .object({ N: z.number().int().min(2), r: z.number().int().min(1).max(64), p: z.number().int().min(1).max(16) })
    .refine(({ N, r }) => Number.isInteger(Math.log2(N)) && 128 * N * r <= MAX_MEMORY_BYTES, "is out of range"),
});
type PasswordHash = z.infer<typeof passwordHashSchema>;

/** The password was not checked. */
export class TooManyHashesError extends Error {
  override name = "TooManyHashesError";
}

/** An unknown user's password is compared with this hash, so the check takes as long as for a known user. */
const UNKNOWN_USER_HASH: PasswordHash = {
  salt: randomBytes(SALT_BYTES).toString("base64url"),
  hash: randomBytes(KEY_BYTES).toString("base64url"),
  scrypt: COST,
};

/** Scrypt hashes of passwords (RFC 7914), a few at a time. */
export class Passwords {
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  /** @throws {TooManyHashesError} */
  async hash(password: string): Promise<PasswordHash> {
    const salt = randomBytes(SALT_BYTES);
    const hash = await this.#derive(password, salt, COST);
    return { salt: salt.toString("base64url"), hash: hash.toString("base64url"), scrypt: COST };
  }

  /**
   * @param stored undefined for an unknown user: the result is false, after the same time @throws {TooManyHashesError}
   */
  async matches(password: string, stored: PasswordHash | undefined): Promise<boolean> {
    const { salt, hash, scrypt: cost } = stored ?? UNKNOWN_USER_HASH;
    const derived = await this.#derive(password, Buffer.from(salt, "base64url"), cost);
    const expected = Buffer.from(hash, "base64url");
    return expected.length === derived.length && timingSafeEqual(derived, expected) && stored !== undefined;
  }

  async #derive(password: string, salt: Buffer, cost: typeof COST): Promise<Buffer> {
    if (this.#running >= MAX_HASHES_AT_ONCE) {
      if (this.#waiting.length >= MAX_WAITING_HASHES)
        throw new TooManyHashesError(`${MAX_WAITING_HASHES} logins are waiting already: try again in a moment`);
      // A finished hash passes its slot to the next one, so `#running` stays the same.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      // Different keyboards encode the same accented letter differently.
      return await derive(password.normalize("NFKC"), salt, KEY_BYTES, { ...cost, maxmem: 2 * 128 * cost.N * cost.r });
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);
