import { createHash, timingSafeEqual } from "node:crypto";

/** Compares in constant time: the digests have one length for inputs of any length. */
export function sameSecret(given: string, secret: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(secret));
}
