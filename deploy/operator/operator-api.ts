import { join } from "node:path";
import { z } from "zod";
import type { OperatorRequest } from "../../bridge/http/in-process-api.ts";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import { reasonOf } from "../../platform/error-reason.ts";
import { jsonOf } from "../../platform/json.ts";
import { DataPathError, readSecrets } from "../config/secrets.ts";

/** Manages users, devices and tokens, in a running server or in the store of a stopped server. */
export interface OperatorApi {
  /**
   * @returns the JSON of the answer, or undefined if it has no body
   * @throws {OperatorApiError}
   */
  call(method: OperatorRequest["method"], path: string, body?: object): Promise<unknown>;
  close(): Promise<void>;
  /** True if no server runs and the calls change the store directly. */
  readonly isStore?: boolean;
}

/** The server did not answer, or refused the request. The message says why and what to do. */
export class OperatorApiError extends Error {
  override name = "OperatorApiError";
}

/** The timeout for one answer of the server. */
const TIMEOUT_MS = 10_000;

export const WRONG_KEY =
  "the server refuses the operator key: set OPERATOR_KEY to that of the server, or DATA_PATH to its data";

const errorSchema = z.object({ error: z.object({ message: z.string() }) });

/** The URL of a server for programs on the same machine. */
export function serverUrl(host: string, port: number | string): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

export function serverApi({ url, key }: { url: string; key: string }): OperatorApi {
  return {
    async call(method, path, body) {
      const answer = await fetch(new URL(path, url), {
        method,
        headers: { ...(body && { "content-type": "application/json" }), authorization: `Bearer ${key}` },
        ...(body && { body: JSON.stringify(body) }),
        // After a redirect, fetch would send a GET instead of a POST, and a successful GET would hide the lost POST.
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((cause: unknown) => {
        const problem = `the server at ${url} no longer answers (${reasonOf(cause)})`;
        throw new OperatorApiError(`${problem}: see its log`, { cause });
      });
      if (answer.status === 401) throw new OperatorApiError(WRONG_KEY);
      return resultOf({ status: answer.status, text: await answer.text() });
    },
    close: async () => {},
  };
}

/** @throws {OperatorApiError} the request was refused */
export function resultOf({ status, text }: { status: number; text: string }): unknown {
  const value = jsonOf(text);
  if (status >= 200 && status < 300) return value;
  const refusal = errorSchema.safeParse(value);
  throw new OperatorApiError(refusal.success ? refusal.data.error.message : `the server answers ${status}`);
}

/**
 * The operator key that the server generated at its first start. The key is for the server on this machine, so it is
 * never sent to another machine.
 * @throws {OperatorApiError} `url` is on another machine, or there is no key
 */
export function generatedKey(dataPath: string, url: string): string {
  const path = join(dataPath, "secrets.json");
  if (!isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, "")))
    throw new OperatorApiError(`OPERATOR_KEY is not set, and the key in ${path} is not for ${url}: set OPERATOR_KEY`);
  let cause: unknown;
  try {
    const secrets = readSecrets(path);
    if (secrets !== undefined) return secrets.operatorKey;
  } catch (error) {
    if (error instanceof DataPathError) throw new OperatorApiError(error.message, { cause: error });
    cause = error;
  }
  throw new OperatorApiError(`OPERATOR_KEY is not set, and there is no key in ${path}: set OPERATOR_KEY`, { cause });
}
