import { z } from "zod";
import type { SignInReason } from "../../contract/sign-in.ts";
import type { Account } from "./accounts.ts";
import type { OidcConfig } from "./oidc-config.ts";
import { createSealedValues } from "./sealed-value.ts";

/** How long a user may take at the identity provider. */
export const FLOW_TTL_SECONDS = 600;
/** The page asks for the login as soon as it is loaded. */
export const HANDOVER_TTL_SECONDS = 60;

/** What the server must know again when the identity provider sends the browser back. */
const flowSchema = z.object({ state: z.string(), nonce: z.string(), verifier: z.string() });
export type Flow = z.infer<typeof flowSchema>;

/** The user that the identity provider has signed in. Disabling the account gives it another generation. */
const handoverSchema = z.object({
  ...{ userId: z.string(), generation: z.string() },
  /** For revocations, milliseconds since 1970. */
  issuedAt: z.number(),
});

export type Handover = z.infer<typeof handoverSchema>;

/** The sign-in of people with an identity provider. */
export interface SignIn {
  readonly config: OidcConfig;
  /** @returns the provider's address for the browser, and what {@link finish} needs @throws {SignInError} */
  begin(): Promise<{ url: URL; flow: Flow }>;
  /**
   * @param query the query with which the provider sent the browser back
   * @throws {SignInError} @throws {TooManyAccountsError} @throws {StoreUnavailableError}
   */
  finish(query: URLSearchParams, flow: Flow): Promise<Account>;
}

/** A sign-in with the identity provider failed. */
export class SignInError extends Error {
  override name = "SignInError";
  readonly reason: SignInReason;

  constructor(reason: SignInReason, options?: ErrorOptions) {
    super(`Sign-in failed: ${reason}`, options);
    this.reason = reason;
  }
}

/** The values that the browser keeps during a sign-in. */
export function createSignInValues(signing: { secrets: readonly string[]; now: () => number }) {
  const flow = { purpose: "sign-in flow", schema: flowSchema, ttlSeconds: FLOW_TTL_SECONDS };
  const handover = { purpose: "sign-in handover", schema: handoverSchema, ttlSeconds: HANDOVER_TTL_SECONDS };
  return {
    flows: createSealedValues({ ...flow, ...signing }),
    handovers: createSealedValues({ ...handover, ...signing }),
  };
}
