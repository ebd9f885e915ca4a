import { createHash } from "node:crypto";

/** An event id that depends only on the arguments, so that two nodes that publish the same event use the same id. */
export function eventIdOf(...about: readonly (string | number)[]): string {
  return createHash("sha256").update(JSON.stringify(about)).digest("base64url").slice(0, 32);
}
