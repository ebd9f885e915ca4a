import { join } from "node:path";
import { z } from "zod";
import type { OperatorRequest } from "../../bridge/http/in-process-api.ts";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import { DataPathError, readSecrets } from "../config/secrets.ts";
import { reasonOf } from "./error-reason.ts";

/** Users, devices and tokens, as their operator manages them: of a running server, or in the store of one that stands still. */
export interface OperatorApi {
  /** @returns the answer's JSON, or undefined when it has none. @throws {OperatorApiError} */
  call(method: OperatorRequest["method"], path: string, body?: object): Promise<unknown>;
  close(): Promise<void>;
  /** No server runs: this is done in its store. */
  readonly isStore?: boolean;
}

/** It could not be asked, or it refused: the message says why. */
export class OperatorApiError extends Error {
  override name = "OperatorApiError";
}

/** An answer that does not come within this ends the command. */
const TIMEOUT_MS = 10_000;

/** What becomes of a key that is not the server's. */
export const WRONG_KEY =
  "the server does not take the operator key: set OPERATOR_KEY to the server's, or DATA_PATH to its data";

const errorSchema = z.object({ error: z.object({ message: z.string() }) });

/** Where a server with these settings is, seen from its machine. */
export function serverUrl(host: string, port: number | string): string {
  const name = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

/** @param options.url of the server, such as `http://127.0.0.1:8082` */
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
        // Followed, a POST would become a GET, which looks like done.
        redirect: "error",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: unknown) => {
        throw new OperatorApiError(`the server at ${url} does not answer any more (${reasonOf(error)}): see its log`, {
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
  const said = errorSchema.safeParse(value);
  throw new OperatorApiError(said.success ? said.data.error.message : `the server answers ${status}`);
}

/**
 * The operator key that the server made at its first start. It is made for a server that this machine alone can reach, and
 * so it is told to nobody else. @throws {OperatorApiError}
 */
export function generatedKey(dataPath: string, url: string): string {
  const path = join(dataPath, "secrets.json");
  if (!isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, "")))
    throw new OperatorApiError(`there is no OPERATOR_KEY, and that in ${path} is not for ${url}: set it`);
  try {
    const secrets = readSecrets(path);
    if (secrets !== undefined) return secrets.operatorKey;
  } catch (error) {
    if (error instanceof DataPathError) throw new OperatorApiError(error.message, { cause: error });
    throw new OperatorApiError(`there is no OPERATOR_KEY, and none in ${path}: set it`, { cause: error });
  }
  throw new OperatorApiError(`there is no OPERATOR_KEY, and none in ${path}: set it`);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
