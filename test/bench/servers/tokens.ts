import jsonwebtoken from "jsonwebtoken";

/** Both servers verify the same kind of token with the same secret. */
export const JWT_SECRET = "a secret of the benchmarks, known to all of them";

/** A token as a third-party issuer would sign it. */
export function signToken(userId: string, permissions: readonly string[]): string {
  return jsonwebtoken.sign({ permissions, jti: `bench-${userId}` }, JWT_SECRET, {
    algorithm: "HS256",
    subject: userId,
    expiresIn: "2h",
  });
}

/** One token for each of the given number of users, so that per-user state of a server is not shared. */
export function viewerTokens(count: number): string[] {
  return Array.from({ length: count }, (_, index) => signToken(`viewer-${index}`, ["dashboard:read"]));
}
