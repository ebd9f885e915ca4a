/** The reply of a script. */
export type Reply = string | number | null | readonly Reply[];

export function partsOf(reply: Reply): readonly Reply[] {
  return typeof reply === "object" && reply !== null ? reply : [];
}

export function asReply(reply: unknown): Reply {
  if (typeof reply === "string" || typeof reply === "number" || reply === null) return reply;
  if (Array.isArray(reply)) return reply.map(asReply);
  throw new TypeError("a script returned a value of an unexpected type");
}
