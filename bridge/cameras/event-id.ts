import { createHash } from "node:crypto";

/** An event's id that follows from what it is about: two nodes that say the same say it under one id. */
export function eventIdOf(...about: readonly (string | number)[]): string {
  return createHash("sha256").update(JSON.stringify(about)).digest("base64url").slice(0, 32);
}
