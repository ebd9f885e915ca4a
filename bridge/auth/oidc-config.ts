import { z } from "zod";
import { ROLES, type Role } from "../../contract/permissions.ts";
import { isLoopbackHost } from "../../platform/client-addresses.ts";
import { ConfigurationError, listVariable, positiveVariable, setting, type ValuesOf } from "../../platform/config.ts";

export interface GroupRole {
  /** The name of a group at the identity provider; `*` for every user. */
  group: string;
  role: Role;
}

export interface GroupRoles {
  /** The names of the nested claims that lead to the user's groups, such as `["realm_access", "roles"]`. */
  claim: readonly string[];
  /** The first entry that matches a user counts. */
  roles: readonly GroupRole[];
}

/** The path of {@link oidcSettings.OIDC_REDIRECT_URL}. */
export const OIDC_CALLBACK_PATH = "/auth/oidc/callback";
const ROLE_NAMES = Object.keys(ROLES) as Role[];
const EXAMPLE = `https://sky.example.org${OIDC_CALLBACK_PATH}`;

export const oidcSettings = {
  OIDC_ISSUER: setting(
    "The identity provider with which people sign in to the page (OpenID Connect): an `https:` URL, or `http:` on loopback. " +
      "The server reads `/.well-known/openid-configuration` below it.",
    z
      .string()
      .refine(isProtectedUrl, "must be an https: URL without a query, such as https://id.example.org/realms/sky")
      .optional(),
    { mustAgree: true },
  ),
  OIDC_CLIENT_ID: setting(
    "The id of this server at the identity provider. Must be set with `OIDC_ISSUER`.",
    z.string().optional(),
    { mustAgree: true },
  ),
  OIDC_CLIENT_SECRET: setting(
    "The secret of this server at the identity provider. Without it the server is a public client, which PKCE alone protects.",
    z.string().optional(),
    { mustAgree: true, isSecret: true, defaultText: "none" },
  ),
  OIDC_REDIRECT_URL: setting(
    `Where the identity provider sends the browser back: the address of the page and \`${OIDC_CALLBACK_PATH}\`, such as ` +
      `\`${EXAMPLE}\`. Register the same URL at the provider. Must be set with \`OIDC_ISSUER\`.`,
    z
      .string()
      .refine(isProtectedUrl, `must be an https: URL without a query, such as ${EXAMPLE}`)
      .refine(
        (url) => !URL.canParse(url) || new URL(url).pathname.endsWith(OIDC_CALLBACK_PATH),
        `must end with ${OIDC_CALLBACK_PATH}, such as ${EXAMPLE}`,
      )
      .optional(),
    { mustAgree: true },
  ),
  OIDC_NAME: setting(
    "The name of the identity provider on the page's button.",
    z.string().trim().min(1, "must not be empty").max(40, "must have at most 40 characters").default("single sign-on"),
  ),
  OIDC_SCOPES: setting(
    "What the server asks the identity provider for, separated by blanks. Some providers put groups into the token only with " +
      "`groups`.",
    z
      .string()
      .refine((scopes) => scopes.split(" ").includes("openid"), "must contain openid, such as openid profile groups")
      .default("openid profile"),
    { mustAgree: true },
  ),
  OIDC_GROUPS_CLAIM: setting(
    "The claim with the groups of a user, also in the tokens of `JWKS_URL`. With dots for a claim inside a claim, such as " +
      "`realm_access.roles`.",
    z.string().min(1, "must not be empty").default("groups"),
    { mustAgree: true },
  ),
  OIDC_GROUP_ROLES: setting(
    "The roles of the identity provider's groups, separated by commas, such as `sky-admins=admin,*=viewer`. `*` is every user. " +
      "The first entry that matches a user counts. The claim `permissions` of a user counts too.",
    listVariable.transform(readGroupRoles).default([]),
    { mustAgree: true, defaultText: "none" },
  ),
  OIDC_SESSION_TTL_SECONDS: setting(
    "Time after which a person who signed in with the identity provider must do it again. Until then, a change of the person's " +
      "groups at the provider has no effect.",
    positiveVariable.default(43_200),
    { mustAgree: true },
  ),
};

export type OidcConfig = NonNullable<ReturnType<typeof oidcConfig>>;

/** @returns undefined without `OIDC_ISSUER` @throws {ConfigurationError} */
export function oidcConfig(read: ValuesOf<typeof oidcSettings>) {
  const { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_REDIRECT_URL } = read;
  const needed = { OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_REDIRECT_URL };
  if (OIDC_ISSUER !== undefined && OIDC_CLIENT_ID !== undefined && OIDC_REDIRECT_URL !== undefined)
    return {
      issuer: new URL(OIDC_ISSUER),
      clientId: OIDC_CLIENT_ID,
      clientSecret: read.OIDC_CLIENT_SECRET,
      redirectUrl: new URL(OIDC_REDIRECT_URL),
      name: read.OIDC_NAME,
      scopes: read.OIDC_SCOPES,
      sessionTtlSeconds: read.OIDC_SESSION_TTL_SECONDS,
      groups: groupRolesOf(read),
    };
  if (OIDC_ISSUER === undefined && OIDC_CLIENT_ID === undefined && OIDC_REDIRECT_URL === undefined) return undefined;
  const missing = Object.entries(needed).filter(([, value]) => value === undefined);
  throw new ConfigurationError(missing.map(([name]) => `${name}: must be set with the other OIDC_ settings`));
}

/** How the groups of the identity provider become roles. */
export function groupRolesOf(read: ValuesOf<typeof oidcSettings>): GroupRoles {
  return { claim: read.OIDC_GROUPS_CLAIM.split("."), roles: read.OIDC_GROUP_ROLES };
}

/** An attacker who reads or changes the traffic to these addresses can sign in as any user, so plain HTTP is refused. */
function isProtectedUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, search, hash, username } = new URL(text);
  if (`${search}${hash}${username}` !== "") return false;
  return protocol === "https:" || (protocol === "http:" && isLoopbackHost(hostname.replace(/^\[(.*)\]$/, "$1")));
}

/** A group may contain `=`, so the last `=` separates the role. A group with a comma cannot be named. */
function readGroupRoles(entries: string[], context: z.RefinementCtx): GroupRole[] {
  return entries.flatMap((entry) => {
    const at = entry.lastIndexOf("=");
    const name = entry.slice(at + 1).trim();
    const role = ROLE_NAMES.find((known) => known === name);
    if (at > 0 && role !== undefined) return [{ group: entry.slice(0, at).trim(), role }];
    const message = `"${entry}" must be a group, =, and one of the roles ${ROLE_NAMES.join(", ")}`;
    context.addIssue({ code: "custom", message });
    return [];
  });
}
