import type { Logger } from "pino";
import type { Accounts } from "./accounts.ts";
import type { OidcConfig } from "./oidc-config.ts";
import type { SignIn } from "./sign-in.ts";

interface StartedSignIn {
  /** Undefined without `OIDC_ISSUER`. */
  provider: SignIn | undefined;
  stop(): void;
}

/** Loads the client of identity providers only if it is needed. */
export async function startSignIn(
  config: OidcConfig | undefined,
  parts: { accounts: Pick<Accounts, "keepProvided">; logger: Logger },
): Promise<StartedSignIn> {
  if (config === undefined) return { provider: undefined, stop() {} };
  const { OidcSignIn } = await import("./oidc.ts");
  const provider = new OidcSignIn({ config, ...parts });
  return { provider, stop: () => provider.stop() };
}
