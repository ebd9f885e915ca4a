import jsonwebtoken from "jsonwebtoken";

/** Shared, so that all servers verify the same kind of token with the same secret. */
export const JWT_SECRET = "a secret of the benchmarks, known to all of them";

/** A token like that of a third-party issuer. */
export function signToken(userId: string, permissions: readonly string[]): string {
  return jsonwebtoken.sign({ permissions, jti: `bench-${userId}` }, JWT_SECRET, {
    algorithm: "HS256",
    subject: userId,
    expiresIn: "2h",
  });
}

/** One token for each of `count` users, so that the dashboards do not share per-user state of the server. */
export function viewerTokens(count: number): string[] {
  return Array.from({ length: count }, (_, index) => signToken(`viewer-${index}`, ["dashboard:read"]));
}
