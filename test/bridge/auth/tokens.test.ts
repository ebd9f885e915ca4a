import { createHmac } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import { describe, expect, it } from "vitest";
import { createTokens, ExpiredTokenError, InvalidTokenError } from "../../../bridge/auth/tokens.ts";

const SECRET = "0123456789abcdef0123456789abcdef";
const OTHER = "fedcba9876543210fedcba9876543210";
const NOW = Date.parse("2026-03-01T06:30:00.000Z");
const seconds = Math.floor(NOW / 1000);
const tokens = createTokens({ secrets: [SECRET], now: () => NOW });
const claims = { user_id: "alice", permissions: ["dashboard:read"], iat: seconds, exp: seconds + 60 };

/** Signs by hand, because libraries refuse to sign some of these tokens. */
function sign(payload: unknown, secret = SECRET, alg = "HS256"): string {
  const encode = (part: unknown) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const content = `${encode({ alg, typ: "JWT" })}.${encode(payload)}`;
  const signature =
    alg === "none"
      ? ""
      : createHmac(`sha${alg.slice(2)}`, secret)
          .update(content)
          .digest("base64url");
  return `${content}.${signature}`;
}

describe("a token", () => {
  it("has all properties that it was minted with", () => {
    const { token, tokenId, expiresAt } = tokens.mint({ userId: "alice", permissions: ["a:read"], ttlSeconds: 900 });
    expect(expiresAt).toBe(NOW + 900_000);
    expect(tokens.verify(token)).toEqual({
      userId: "alice",
      permissions: ["a:read"],
      issuedAt: NOW,
      expiresAt: NOW + 900_000,
      tokenId,
    });
  });

  it("is accepted with user_id and without jti, as the predecessor issued it", () => {
    expect(tokens.verify(sign(claims))).toMatchObject({ userId: "alice", tokenId: undefined });
  });

  it("is accepted with sub but no user_id, and with equal sub and user_id", () => {
    const { user_id, ...rest } = claims;
    expect(tokens.verify(sign({ ...rest, sub: user_id })).userId).toBe("alice");
    expect(tokens.verify(sign({ ...claims, sub: user_id })).userId).toBe("alice");
  });

  it("that was signed with an older secret is accepted while that secret is configured", () => {
    const both = createTokens({ secrets: [OTHER, SECRET], now: () => NOW });
    expect(both.verify(sign(claims)).userId).toBe("alice");
    const { token } = both.mint({ userId: "bob", permissions: [], ttlSeconds: 60 });
    expect(() => tokens.verify(token)).toThrow(InvalidTokenError);
  });

  it("expires at the time that exp contains", () => {
    const at = (now: number) => createTokens({ secrets: [SECRET], now: () => now });
    const token = sign(claims);
    expect(at(NOW + 59_999).verify(token).userId).toBe("alice");
    expect(() => at(NOW + 60_000).verify(token)).toThrow(ExpiredTokenError);
  });
});

describe("a token is refused", () => {
  const wrong = /^Invalid token$/;
  it.each<[string, string, RegExp]>([
    ["signed with none", sign(claims, "", "none"), wrong],
    ["signed with HS384 and the right secret", sign(claims, SECRET, "HS384"), wrong],
    ["signed with HS512 and the right secret", sign(claims, SECRET, "HS512"), wrong],
    ["signed with another key", sign(claims, OTHER), wrong],
    ["that is not a JWT", "not-a-token", wrong],
    ["that is empty", "", wrong],
    ["that is too long", "a".repeat(9000), /too long/],
    ["whose payload is a string", sign("alice"), /^Invalid token/],
    ["without exp", sign({ ...claims, exp: undefined }), /: exp /],
    ["without iat", sign({ ...claims, iat: undefined }), /: iat /],
    ["issued in the future", sign({ ...claims, iat: seconds + 61, exp: seconds + 120 }), /issued in the future/],
    ["that expires before it was issued", sign({ ...claims, iat: seconds + 60 }), /exp is not after iat/],
    ["without a user", sign({ ...claims, user_id: undefined }), /sub or user_id/],
    ["for two users", sign({ ...claims, sub: "bob" }), /two users/],
    ["for a user with an empty id", sign({ ...claims, user_id: "" }), /: user_id /],
    ["for a user id with a line break", sign({ ...claims, user_id: "alice\nbob" }), /: user_id /],
    ["for a user id of 129 characters", sign({ ...claims, user_id: "a".repeat(129) }), /: user_id /],
    ["without permissions", sign({ ...claims, permissions: undefined }), /: permissions /],
    ["whose permissions are a string", sign({ ...claims, permissions: "admin" }), /: permissions /],
    ["with 101 permissions", sign({ ...claims, permissions: Array(101).fill("a:read") }), /: permissions /],
    ["with a permission of 129 characters", sign({ ...claims, permissions: ["a".repeat(129)] }), /: permissions 0 /],
    ["not valid yet, beyond the tolerated clock difference", sign({ ...claims, nbf: seconds + 61 }), /not valid yet/],
    ["whose nbf is a string", sign({ ...claims, nbf: "soon" }), /^Invalid token/],
    ["for another audience", sign({ ...claims, aud: "grafana" }), /audience/],
    ["for several other audiences", sign({ ...claims, aud: ["grafana", "nextcloud"] }), /audience/],
    ["whose audience is not a string", sign({ ...claims, aud: 7 }), /audience/],
    [
      "with a critical header field",
      jsonwebtoken.sign(claims, SECRET, { header: { alg: "HS256", crit: ["exp"] } }),
      /critical header fields/,
    ],
  ])("%s", (_name, token, message) => {
    const refusal = (() => {
      try {
        return tokens.verify(token);
      } catch (error) {
        return error;
      }
    })();
    expect(refusal).toBeInstanceOf(InvalidTokenError);
    expect(refusal).not.toBeInstanceOf(ExpiredTokenError);
    expect(refusal).toMatchObject({ message: expect.stringMatching(message) });
  });

  it("not at the limits: 100 permissions and permissions of 128 characters are accepted", () => {
    const permissions = Array.from({ length: 100 }, (_, index) => `${index}`.padEnd(20, "x"));
    expect(tokens.verify(sign({ ...claims, permissions })).permissions).toHaveLength(100);
    expect(tokens.verify(sign({ ...claims, permissions: ["a".repeat(128)] })).permissions).toHaveLength(1);
  });
});

describe("a token is accepted", () => {
  it("when its nbf is within the tolerated clock difference", () => {
    expect(tokens.verify(sign({ ...claims, nbf: seconds + 60 }))).toMatchObject({ userId: "alice" });
  });

  it.each([["skylapse"], [["grafana", "skylapse"]]])("when it names our audience: %j", (aud) => {
    const withAudience = createTokens({ secrets: [SECRET], audience: "skylapse", now: () => NOW });
    expect(withAudience.verify(sign({ ...claims, aud }))).toMatchObject({ userId: "alice" });
    expect(withAudience.verify(sign(claims))).toMatchObject({ userId: "alice" });
    expect(() => withAudience.verify(sign({ ...claims, aud: "grafana" }))).toThrow("audience");
  });
});

describe("a secret", () => {
  it.each([[[]], [["short"]], [[SECRET, "short"]]])("must be present and long enough: %j is refused", (secrets) => {
    expect(() => createTokens({ secrets })).toThrow(RangeError);
  });
});
