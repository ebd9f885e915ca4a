import { describe, expect, it } from "vitest";
import { oidcConfig, oidcSettings } from "../../../bridge/auth/oidc-config.ts";
import { permissionsOfToken, powersOfClaims } from "../../../bridge/auth/provider-permissions.ts";
import { ROLES } from "../../../contract/permissions.ts";
import { ConfigurationError, readEnvironment } from "../../../platform/config.ts";

const read = (env: Record<string, string>) =>
  oidcConfig(readEnvironment(oidcSettings, { env, readFile: () => "secret from a file" }));

const ENV = {
  OIDC_ISSUER: "https://id.example.org/realms/sky",
  OIDC_CLIENT_ID: "skylapse",
  OIDC_REDIRECT_URL: "https://sky.example.org/auth/oidc/callback",
};

function groupsOf(env: Record<string, string>) {
  const config = read({ ...ENV, ...env });
  if (config === undefined) throw new Error("no identity provider");
  return config.groups;
}

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    read(env);
  } catch (error) {
    if (error instanceof ConfigurationError) return error.problems;
    throw error;
  }
  return [];
}

describe("the role of a user of the identity provider", () => {
  const groups = groupsOf({ OIDC_GROUP_ROLES: "sky-admins=admin, cn=ops=admin, staff=viewer" });

  it("is that of the first entry that matches a group", () => {
    expect(powersOfClaims({ groups: ["staff", "sky-admins"] }, groups)).toEqual({ role: "admin" });
    expect(powersOfClaims({ groups: ["other", "staff"] }, groups)).toEqual({ role: "viewer" });
    expect(powersOfClaims({ groups: ["/staff"] }, groups)).toEqual({ role: "viewer" });
    expect(powersOfClaims({ groups: "staff" }, groups)).toEqual({ role: "viewer" });
  });

  it("is missing without such a group, whatever the claim contains", () => {
    const claims = [{}, { groups: ["*"] }, { groups: [["staff"]] }, { groups: { staff: true } }, { groups: ["STAFF"] }];
    for (const claim of claims) expect(powersOfClaims(claim, groups)).toBeUndefined();
  });

  it("may come from a claim inside a claim", () => {
    const nested = groupsOf({ OIDC_GROUPS_CLAIM: "realm_access.roles", OIDC_GROUP_ROLES: "ops=admin" });
    expect(powersOfClaims({ realm_access: { roles: ["ops"] } }, nested)).toEqual({ role: "admin" });
    expect(powersOfClaims({ realm_access: null, roles: ["ops"] }, nested)).toBeUndefined();
    const inherited = groupsOf({ OIDC_GROUPS_CLAIM: "constructor.name", OIDC_GROUP_ROLES: "Object=admin" });
    expect(powersOfClaims({}, inherited)).toBeUndefined();
  });

  it("is that of * for every other user", () => {
    const everybody = groupsOf({ OIDC_GROUP_ROLES: "sky-admins=admin,*=viewer" });
    expect(powersOfClaims({}, everybody)).toEqual({ role: "viewer" });
    expect(powersOfClaims({ groups: ["sky-admins"] }, everybody)).toEqual({ role: "admin" });
  });

  it("is joined with the claim permissions", () => {
    const claims = { groups: ["staff"], permissions: ["camera:control", "dashboard:read"] };
    expect(powersOfClaims(claims, groups)).toEqual({ permissions: [...ROLES.viewer, "camera:control"] });
    expect(powersOfClaims({ permissions: ["jobs:read"] }, groups)).toEqual({ permissions: ["jobs:read"] });
    expect(permissionsOfToken(claims, groups)).toEqual([...ROLES.viewer, ...claims.permissions]);
    expect(permissionsOfToken({ groups: ["staff"] }, groups)).toEqual(ROLES.viewer);
    expect(permissionsOfToken({ permissions: 7 }, groups)).toBe(7);
  });
});

describe("the OIDC_ settings", () => {
  it("are off by default, and need each other", () => {
    expect(read({})).toBeUndefined();
    expect(problemsOf({ OIDC_ISSUER: ENV.OIDC_ISSUER })).toEqual([
      "OIDC_CLIENT_ID: must be set with the other OIDC_ settings",
      "OIDC_REDIRECT_URL: must be set with the other OIDC_ settings",
    ]);
  });

  it("take the secret from a file", () => {
    expect(read({ ...ENV, OIDC_CLIENT_SECRET_FILE: "/run/secrets/oidc" })?.clientSecret).toBe("secret from a file");
  });

  it.each([
    ["OIDC_ISSUER", "http://id.example.org"],
    ["OIDC_ISSUER", "id.example.org"],
    ["OIDC_REDIRECT_URL", "http://sky.example.org/auth/oidc/callback"],
    ["OIDC_REDIRECT_URL", "https://sky.example.org/"],
    ["OIDC_REDIRECT_URL", "https://sky.example.org/auth/oidc/callback?next=x"],
    ["OIDC_SCOPES", "profile"],
    ["OIDC_GROUP_ROLES", "staff"],
    ["OIDC_GROUP_ROLES", "staff=owner"],
    ["OIDC_GROUP_ROLES", "=viewer"],
  ])("refuse %s=%s by name", (name, value) => {
    const problems = problemsOf({ ...ENV, [name]: value });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${name}: `));
  });

  it("accept plain HTTP on this machine", () => {
    const env = { ...ENV, OIDC_ISSUER: "http://127.0.0.1:9", OIDC_REDIRECT_URL: "http://[::1]:1/auth/oidc/callback" };
    expect(problemsOf(env)).toEqual([]);
  });
});
