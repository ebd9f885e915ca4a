import type { Access } from "../access.ts";

const TIMEOUT_MS = 30_000;

/** The server refused a request. `message` is a text for the user. */
export class ApiError extends Error {
  override name = "ApiError";
  readonly status: number;
  /** The server's code, such as `not_found`. Undefined if the answer came from something else, such as a proxy. */
  readonly code: string | undefined;

  constructor(message: string, status: number, code: string | undefined) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

interface RequestOptions {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  /** Sent as JSON. */
  body?: unknown;
  signal?: AbortSignal | undefined;
}

/** Requests to the HTTP API of the server, with the token of the page. */
export class ApiClient {
  readonly #base: string;
  readonly #access: Access;

  constructor(base: string, access: Access) {
    this.#base = base;
    this.#access = access;
  }

  /**
   * The JSON of a response; undefined for the empty response 204.
   * @param path below the address of the server, such as `cameras/north`; encode ids with `encodeURIComponent`
   * @throws {ApiError} the server refused the request
   * @throws {TypeError} the server could not be reached
   */
  async request(path: string, { method = "GET", body, signal }: RequestOptions = {}): Promise<unknown> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await this.#access.request(new URL(path.replace(/^\//, ""), this.#base), {
      method,
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    if (!answer.ok) throw await errorOf(answer);
    return answer.status === 204 ? undefined : answer.json();
  }
}

async function errorOf(answer: Response): Promise<ApiError> {
  const { error } = Object(await answer.json().catch(() => undefined)) as { error?: unknown };
  const { code, message } = Object(error) as { code?: unknown; message?: unknown };
  const words = typeof message === "string" ? message : `HTTP ${answer.status}`;
  return new ApiError(words, answer.status, typeof code === "string" ? code : undefined);
}
