/** A token this close to its end, milliseconds, is not worth connecting with. */
const EXPIRY_MARGIN_MS = 30_000;
/** How long a token is taken for good before any server has said when it expires, milliseconds. */
const UNKNOWN_LIFETIME_MS = 60_000;

export interface TokenKeeperOptions {
  getToken: () => string | Promise<string>;
  /** Milliseconds after which a `getToken` that has not answered counts as failed. */
  timeoutMs: number;
}

/** Holds the token between connections, so that `getToken` is asked only when a new one is needed. */
export class TokenKeeper {
  readonly #getToken: () => string | Promise<string>;
  readonly #timeoutMs: number;
  #token: string | undefined;
  #expiresAt = 0;
  #proven = false;

  constructor({ getToken, timeoutMs }: TokenKeeperOptions) {
    this.#getToken = getToken;
    this.#timeoutMs = timeoutMs;
  }

  /** True when a server has accepted the token before: should it be refused now, a new one may do. */
  get proven(): boolean {
    return this.#proven;
  }

  /** The token at hand, or a new one. Rejects with what `getToken` threw, or when it took too long. */
  async current(): Promise<string> {
    if (this.#token !== undefined && Date.now() < this.#expiresAt - EXPIRY_MARGIN_MS) return this.#token;
    return this.renewed();
  }

  /** A new token, whatever is at hand. */
  async renewed(): Promise<string> {
    const token = await withTimeout(Promise.resolve(this.#getToken()), this.#timeoutMs);
    this.#token = token;
    this.#expiresAt = Date.now() + UNKNOWN_LIFETIME_MS + EXPIRY_MARGIN_MS;
    this.#proven = false;
    return token;
  }

  /** The server accepted the token. */
  accepted(expiresAt: number): void {
    this.#expiresAt = expiresAt;
    this.#proven = true;
  }

  forget(): void {
    this.#token = undefined;
    this.#proven = false;
  }
}

function withTimeout<Value>(promise: Promise<Value>, timeoutMs: number): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`getToken did not answer within ${timeoutMs} ms`)), timeoutMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
