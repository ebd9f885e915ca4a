import { createHmac } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import type { z } from "zod";

interface SealedValuesOptions<Value extends object> {
  /** Part of the key, so that a value for one purpose, or an access token, is worth nothing for another purpose. */
  purpose: string;
  schema: z.ZodType<Value>;
  ttlSeconds: number;
  /** The first secret signs; all verify. The nodes of a deployment share them. */
  secrets: readonly string[];
  /** Milliseconds since 1970. The nodes of a deployment share this clock. */
  now: () => number;
}

/** Signs values that a browser keeps for the server for a short time, such as in a cookie. The browser can read them. */
export function createSealedValues<Value extends object>(options: SealedValuesOptions<Value>) {
  const { purpose, schema, ttlSeconds, secrets, now } = options;
  const keys = secrets.map((secret) => createHmac("sha256", secret).update(`skylapse ${purpose}`).digest());
  const [signing = Buffer.alloc(0)] = keys;
  return {
    ttlSeconds,
    seal(value: Value): string {
      const exp = Math.floor(now() / 1000) + ttlSeconds;
      return jsonwebtoken.sign({ value, exp }, signing, { algorithm: "HS256", noTimestamp: true });
    },
    /** @returns undefined when the text was not signed here for this purpose, or has expired */
    open(text: string): Value | undefined {
      const clockTimestamp = Math.floor(now() / 1000);
      for (const key of keys) {
        try {
          const payload: unknown = jsonwebtoken.verify(text, key, { algorithms: ["HS256"], clockTimestamp });
          const value =
            typeof payload === "object" && payload !== null && "value" in payload ? payload.value : undefined;
          return schema.safeParse(value).data;
        } catch {
          // Another key may have signed the text.
        }
      }
      return undefined;
    },
  };
}
