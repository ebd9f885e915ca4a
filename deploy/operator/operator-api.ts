import { join } from "node:path";
import { z } from "zod";
import type { OperatorRequest } from "../../bridge/http/in-process-api.ts";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import { DataPathError, readSecrets } from "../config/secrets.ts";
import { reasonOf } from "./error-reason.ts";

/** Manages users, devices and tokens: through a running server, or in the store of a server that does not run. */
export interface OperatorApi {
  /**
   * @returns the JSON of the answer, or undefined if it has no body
   * @throws {OperatorApiError}
   */
  call(method: OperatorRequest["method"], path: string, body?: object): Promise<unknown>;
  close(): Promise<void>;
  /** True if no server runs, so that the calls change the store directly. */
  readonly isStore?: boolean;
}

/** The server did not answer, or refused the request. The message says why and what to do. */
export class OperatorApiError extends Error {
  override name = "OperatorApiError";
}

/** How long the server may take to answer, milliseconds. */
const TIMEOUT_MS = 10_000;

/** The message for an operator key that the server refuses. */
export const WRONG_KEY =
  "the server refuses the operator key: set OPERATOR_KEY to that of the server, or DATA_PATH to its data";

const errorSchema = z.object({ error: z.object({ message: z.string() }) });

/** The address of a server with these settings, as seen from its own machine. */
export function serverUrl(host: string, port: number | string): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

/** @param options.url the address of the server, such as `http://127.0.0.1:8082` */
export function serverApi({ url, key }: { url: string; key: string }): OperatorApi {
  return {
    async call(method, path, body) {
      const answer = await fetch(new URL(path, url), {
        method,
        headers: {
          authorization: `Bearer ${key}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        // A redirect would turn a POST into a GET, and the success of the GET would look like that of the POST.
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: unknown) => {
        throw new OperatorApiError(`the server at ${url} no longer answers (${reasonOf(error)}): see its log`, {
          cause: error,
        });
      });
      if (answer.status === 401) throw new OperatorApiError(WRONG_KEY);
      return resultOf({ status: answer.status, text: await answer.text() });
    },
    close: async () => {},
  };
}

/** @throws {OperatorApiError} the request was refused */
export function resultOf({ status, text }: { status: number; text: string }): unknown {
  const value = text === "" ? undefined : parsed(text);
  if (status >= 200 && status < 300) return value;
  const refusal = errorSchema.safeParse(value);
  throw new OperatorApiError(refusal.success ? refusal.data.error.message : `the server answers ${status}`);
}

/**
 * The operator key that the server generated at its first start. The key belongs to a server that only this machine can
 * reach, so the key is never sent to another machine.
 * @throws {OperatorApiError} `url` is on another machine, or there is no key
 */
export function generatedKey(dataPath: string, url: string): string {
  const path = join(dataPath, "secrets.json");
  if (!isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, "")))
    throw new OperatorApiError(`OPERATOR_KEY is not set, and the key in ${path} is not for ${url}: set OPERATOR_KEY`);
  try {
    const secrets = readSecrets(path);
    if (secrets !== undefined) return secrets.operatorKey;
  } catch (error) {
    if (error instanceof DataPathError) throw new OperatorApiError(error.message, { cause: error });
    throw new OperatorApiError(`OPERATOR_KEY is not set, and there is no key in ${path}: set OPERATOR_KEY`, {
      cause: error,
    });
  }
  throw new OperatorApiError(`OPERATOR_KEY is not set, and there is no key in ${path}: set OPERATOR_KEY`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
