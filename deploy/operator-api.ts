import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";

/** A running server, as its operator speaks to it. */
export interface OperatorApi {
  /** @returns the answer's JSON, or undefined when it has none. @throws {OperatorApiError} */
  call(method: "GET" | "POST" | "PUT" | "DELETE", path: string, body?: object): Promise<unknown>;
}

/** The server could not be reached, or refused: the message says why. */
export class OperatorApiError extends Error {
  override name = "OperatorApiError";
}

/** An answer that does not come within this ends the command. */
const TIMEOUT_MS = 10_000;

const errorSchema = z.object({ error: z.object({ message: z.string() }) });
const secretsSchema = z.object({ operatorKey: z.string() });

/**
 * @param options.url of the server, such as `http://127.0.0.1:8082`
 * @param options.key the operator key; without one, that which the server made at its first start in `dataPath`
 */
export function operatorApi({ url, key, dataPath }: { url: string; key: string; dataPath: string }): OperatorApi {
  return {
    async call(method, path, body) {
      const answer = await fetch(new URL(path, url), {
        method,
        headers: {
          authorization: `Bearer ${key === "" ? generatedKey(dataPath) : key}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      }).catch((error: unknown) => {
        throw new OperatorApiError(`no server answers at ${url}: start it, or name it by --url`, { cause: error });
      });
      const text = await answer.text();
      const value = text === "" ? undefined : parsed(text);
      if (answer.ok) return value;
      const said = errorSchema.safeParse(value);
      throw new OperatorApiError(said.success ? said.data.error.message : `the server answers ${answer.status}`);
    },
  };
}

function generatedKey(dataPath: string): string {
  try {
    return secretsSchema.parse(JSON.parse(readFileSync(join(dataPath, "secrets.json"), "utf8"))).operatorKey;
  } catch (error) {
    throw new OperatorApiError(`there is no OPERATOR_KEY, and none in ${join(dataPath, "secrets.json")}: set it`, {
      cause: error,
    });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
