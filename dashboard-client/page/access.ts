import { checked, isPositive, object, optional, text } from "../../contract/guards.ts";
import { TokenRefusedError } from "../client/errors.ts";
import type { TextStorage } from "../state/offline-cache.ts";
import { t } from "./text/i18n.ts";

/** Without a sign-in, the page asks for a token that may read everything and send commands to cameras. */
const OPEN_REQUEST = {
  user_id: "dashboard",
  permissions: ["dashboard:read", "camera:read", "camera:control", "system:read"],
};
const LOGIN_NAME = "skylapse:login";
/** A token that expires within this time is replaced. */
const EXPIRY_MARGIN_MS = 30_000;
const TIMEOUT_MS = 15_000;

interface Token {
  token: string;
  /** Seconds. */
  expires_in: number;
}

interface KeptLogin {
  userId: string;
  /** Undefined after the session has ended. */
  refreshToken?: string;
}

const TOKEN = { token: text(), expires_in: isPositive };
const isToken = object<Token>(TOKEN);
const isLogin = object<Token & { user_id: string; refresh_token: string }>({
  ...TOKEN,
  user_id: text(),
  refresh_token: text(),
});
const isRefusal = object<{ error: { message: string } }>({ error: object<{ message: string }>({ message: text() }) });
const isKept = object<KeptLogin>({ userId: text(), refreshToken: optional(text()) });

/** The server refused a sign-in. */
export class SignInRefusedError extends Error {
  override name = "SignInRefusedError";
  readonly status: number;
  /** Seconds until the next attempt may succeed; undefined if waiting does not help. */
  readonly retryAfterSeconds: number | undefined;

  constructor(message: string, { status, headers }: Response) {
    super(message);
    this.status = status;
    const wait = Number(headers.get("retry-after"));
    this.retryAfterSeconds = status === 429 && wait > 0 ? wait : undefined;
  }
}

interface AccessOptions {
  /** The address of the server, such as `location.href`. */
  base: string;
  fetch: typeof fetch;
  /** Keeps the login for all tabs, and when the browser restarts. Undefined: the login is kept in memory. */
  storage: TextStorage | undefined;
}

/** The tokens of the page, which require a login unless only this machine can reach the server. */
export class Access {
  readonly #options: AccessOptions;
  /** Used if there is no usable storage. */
  #kept: KeptLogin | undefined;
  #storageFailed = false;
  #token: string | undefined;
  #expiresAt = 0;
  #pending: Promise<string> | undefined;

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** A new token. @throws {TokenRefusedError} the user must sign in */
  fresh(): Promise<string> {
    this.#pending ??= this.#renew().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async current(): Promise<string> {
    if (this.#token !== undefined && Date.now() < this.#expiresAt - EXPIRY_MARGIN_MS) return this.#token;
    return this.fresh();
  }

  /** After a 401, the next request uses a new token. */
  get(url: URL, signal: AbortSignal): Promise<Response> {
    return this.request(url, { signal });
  }

  /** A request without a body. @param path below the address of the server */
  post(path: string): Promise<Response> {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    return this.request(new URL(path, this.#options.base), { method: "POST", signal });
  }

  /** Any request to the server. After a 401, the next request uses a new token. */
  async request(url: URL, init: RequestInit): Promise<Response> {
    const headers = { ...init.headers, authorization: `Bearer ${await this.current()}` };
    const answer = await this.#options.fetch(url, { ...init, headers });
    if (answer.status === 401) this.#token = undefined;
    return answer;
  }

  /** @throws {Error} with a message for the user */
  async signIn(userId: string, password: string): Promise<void> {
    const answer = await this.#post("auth/login", { user_id: userId, password });
    if (!answer.ok) throw new SignInRefusedError(await reasonOf(answer), answer);
    await this.#logIn(answer);
  }

  /** Adds the first admin of a new server, and signs in. @throws {Error} with a message for the user */
  async addFirstAdmin(code: string, userId: string, password: string): Promise<void> {
    const answer = await this.#post("setup/admin", { code, user_id: userId, password });
    if (!answer.ok) throw new SignInRefusedError(await reasonOf(answer), answer);
    await this.#logIn(answer);
  }

  /**
   * Changes the user's password. All sessions of the user end, and this browser gets a new one.
   * @throws {Error} with a message for the user
   */
  async changePassword(current: string, password: string): Promise<void> {
    const url = new URL("auth/password", this.#options.base);
    const answer = await this.request(url, jsonPost({ current_password: current, password }));
    if (!answer.ok) throw new SignInRefusedError(await reasonOf(answer), answer);
    await this.#logIn(answer);
  }

  /** Begins the session of a user after the sign-in with the identity provider. All other requests wait for it. */
  async takeProvidedLogin(): Promise<void> {
    this.#pending = this.#provided().finally(() => {
      this.#pending = undefined;
    });
    // The next request for a token reports a failure.
    await this.#pending.catch(() => {});
  }

  /** The last user, also after the session has ended. */
  get userId(): string | undefined {
    return this.#login()?.userId;
  }

  get signedIn(): boolean {
    return this.#login()?.refreshToken !== undefined;
  }

  /** Ends the session here and at the server. If the server cannot be reached, the session expires there later. */
  async signOut(): Promise<void> {
    const refreshToken = this.#login()?.refreshToken;
    this.#token = undefined;
    this.#keep(undefined);
    if (refreshToken !== undefined) await this.#post("auth/logout", { refresh_token: refreshToken }).catch(() => {});
  }

  async #renew(): Promise<string> {
    const login = this.#login();
    if (login?.refreshToken === undefined) return this.#open();
    const answer = await this.#post("auth/refresh", { refresh_token: login.refreshToken });
    if (answer.ok) return this.#logIn(answer);
    if (answer.status !== 401) throw new Error(await reasonOf(answer));
    // Another tab may have signed in during the request.
    if (this.#login()?.refreshToken !== login.refreshToken) return this.#renew();
    this.#keep({ userId: login.userId });
    throw new TokenRefusedError(t("shell.sessionEnded"));
  }

  async #provided(): Promise<string> {
    const answer = await this.#post("auth/oidc/session", {});
    if (!answer.ok) throw new TokenRefusedError(await reasonOf(answer));
    return this.#logIn(answer);
  }

  async #open(): Promise<string> {
    const answer = await this.#post("auth/token", OPEN_REQUEST);
    if (answer.status === 401 || answer.status === 403) {
      // The user may have signed in during the request, in this tab or in another one.
      if (this.signedIn) return this.#renew();
      throw new TokenRefusedError(t("shell.mustSignIn"));
    }
    if (!answer.ok) throw new Error(await reasonOf(answer));
    return this.#take(checked(isToken, await answer.json()));
  }

  async #logIn(answer: Response): Promise<string> {
    const { user_id: userId, refresh_token: refreshToken, ...token } = checked(isLogin, await answer.json());
    this.#keep({ userId, refreshToken });
    return this.#take(token);
  }

  #take({ token, expires_in }: Token): string {
    this.#token = token;
    this.#expiresAt = Date.now() + expires_in * 1000;
    return token;
  }

  #post(path: string, body: object): Promise<Response> {
    return this.#options.fetch(new URL(path, this.#options.base), jsonPost(body));
  }

  /** Reads the storage each time, because another tab may have changed the login. */
  #login(): KeptLogin | undefined {
    const stored = this.#storageFailed ? undefined : this.#withStorage((storage) => storage.getItem(LOGIN_NAME));
    if (stored === undefined) return this.#kept;
    try {
      const kept: unknown = JSON.parse(stored ?? "null");
      return isKept(kept) ? kept : undefined;
    } catch {
      return undefined;
    }
  }

  #keep(login: KeptLogin | undefined): void {
    this.#kept = login;
    this.#withStorage((storage) => {
      if (login === undefined) storage.removeItem(LOGIN_NAME);
      else storage.setItem(LOGIN_NAME, JSON.stringify(login));
    });
  }

  /** Returns undefined if the storage is full, or forbidden by the browser's settings. */
  #withStorage<Result>(use: (storage: TextStorage) => Result): Result | undefined {
    if (this.#options.storage === undefined) return undefined;
    try {
      return use(this.#options.storage);
    } catch {
      this.#storageFailed = true;
      return undefined;
    }
  }
}

function jsonPost(body: object): RequestInit & { headers: Record<string, string> } {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(TIMEOUT_MS),
  };
}

async function reasonOf(answer: Response): Promise<string> {
  const said: unknown = await answer.json().catch(() => undefined);
  return isRefusal(said) ? said.error.message : t("shell.noToken", { status: answer.status });
}
