/** A token that expires within this time is not used for a new connection. */
const EXPIRY_MARGIN_MS = 30_000;
/** The lifetime of a token until a server has said when the token expires. */
const UNKNOWN_LIFETIME_MS = 60_000;

/** Keeps the token between connections, so that `getToken` is called only when a new token is needed. */
export class TokenKeeper {
  readonly #getToken: () => string | Promise<string>;
  readonly #timeoutMs: number;
  #token: string | undefined;
  #expiresAt = 0;
  #proven = false;

  constructor(getToken: () => string | Promise<string>, timeoutMs: number) {
    this.#getToken = getToken;
    this.#timeoutMs = timeoutMs;
  }

  get proven(): boolean {
    return this.#proven;
  }

  /** @throws what `getToken` throws, or an `Error` after the timeout */
  async current(): Promise<string> {
    if (this.#token !== undefined && Date.now() < this.#expiresAt - EXPIRY_MARGIN_MS) return this.#token;
    return this.renewed();
  }

  async renewed(): Promise<string> {
    const token = await withTimeout(Promise.resolve(this.#getToken()), this.#timeoutMs);
    this.#token = token;
    this.#expiresAt = Date.now() + UNKNOWN_LIFETIME_MS + EXPIRY_MARGIN_MS;
    this.#proven = false;
    return token;
  }

  /** The server accepted the token. @param expiresAt milliseconds since 1970 */
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
