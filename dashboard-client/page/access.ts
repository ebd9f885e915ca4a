import { z } from "zod";
import { TokenRefusedError } from "../errors.ts";
import type { TextStorage } from "../offline-cache.ts";

/** What the page asks for: to see everything, and to give cameras commands. */
const REQUEST = { user_id: "dashboard", permissions: ["dashboard:read", "camera:read", "camera:control"] };
const KEY_NAME = "skylapse:operator-key";
/** A token this close to its end, milliseconds, is replaced before it is used. */
const EXPIRY_MARGIN_MS = 30_000;
const TIMEOUT_MS = 15_000;

const tokenSchema = z.object({ token: z.string().min(1), expires_in: z.number().positive() });

export interface AccessOptions {
  /** Where the server is, such as `location.href`. */
  base: string;
  fetch: typeof fetch;
  /** Keeps the operator key while the tab is open; undefined keeps it in memory. */
  storage: TextStorage | undefined;
}

/** The page's tokens. On a server that only this machine can reach they need no key; elsewhere the operator's. */
export class Access {
  readonly #options: AccessOptions;
  #key: string | undefined;
  #token: string | undefined;
  #expiresAt = 0;
  #pending: Promise<string> | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** A new token. Throws {@link TokenRefusedError} when the server wants an operator key, or another one. */
  fresh(): Promise<string> {
    this.#pending ??= this.#ask().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  /** The token at hand, or a new one. */
  async current(): Promise<string> {
    if (this.#token !== undefined && Date.now() < this.#expiresAt - EXPIRY_MARGIN_MS) return this.#token;
    return this.fresh();
  }

  /** A server refused the token at hand. */
  forgetToken(): void {
    this.#token = undefined;
  }

  /** Keeps the key when the server takes it; throws what {@link Access.fresh} throws when not. */
  async signIn(key: string): Promise<void> {
    await this.#pending?.catch(() => {});
    const before = this.#key;
    this.#key = key;
    try {
      await this.fresh();
    } catch (error) {
      this.#key = before;
      throw error;
    }
    this.#options.storage?.setItem(KEY_NAME, key);
  }

  get signedIn(): boolean {
    return this.#heldKey() !== undefined;
  }

  signOut(): void {
    this.#key = undefined;
    this.#token = undefined;
    this.#options.storage?.removeItem(KEY_NAME);
  }

  #heldKey(): string | undefined {
    return this.#key ?? this.#options.storage?.getItem(KEY_NAME) ?? undefined;
  }

  async #ask(): Promise<string> {
    const key = this.#heldKey();
    const response = await this.#options.fetch(new URL("auth/token", this.#options.base), {
      method: "POST",
      headers: { "content-type": "application/json", ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) },
      body: JSON.stringify(REQUEST),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (response.status === 401 || response.status === 403)
      throw new TokenRefusedError(
        key === undefined ? "The server asks for an operator key" : "The server does not take this operator key",
      );
    if (!response.ok) throw new Error(`The server gave no token (HTTP ${response.status})`);
    const { token, expires_in } = tokenSchema.parse(await response.json());
    this.#token = token;
    this.#expiresAt = Date.now() + expires_in * 1000;
    return token;
  }
}
