import type { Logger } from "pino";
import { ReplyCode } from "../../contract/codes.ts";
import type { TokenIdentity } from "../../platform/identity.ts";
import { ExpiredTokenError, InvalidTokenError, type Tokens } from "../auth/tokens.ts";
import type { FrameSink } from "../delivery/frame-sink.ts";
import { type Refusal, TOKEN_NOT_VERIFIED } from "./refusals.ts";

type Renewal =
  | { ok: true; identity: TokenIdentity }
  /** `audit`: the target of the entry in the audit log. */
  | { ok: false; refusal: Refusal; audit?: string };

/** Verifies a token that replaces another token of the same user. */
export function renewToken(
  token: string,
  userId: string,
  names: FrameSink["names"],
  { tokens, logger }: { tokens: Pick<Tokens, "verify">; logger: Logger },
): Renewal {
  let identity: TokenIdentity;
  try {
    identity = tokens.verify(token);
  } catch (error) {
    if (error instanceof ExpiredTokenError)
      return { ok: false, refusal: { code: ReplyCode.tokenExpired, error: "The token has expired" } };
    if (error instanceof InvalidTokenError) {
      const refusal = { code: ReplyCode.badRequest, error: "The token is invalid" };
      return { ok: false, refusal, audit: "with another token" };
    }
    logger.error({ err: error, ...names }, "token not verified");
    return { ok: false, refusal: TOKEN_NOT_VERIFIED };
  }
  if (identity.userId === userId) return { ok: true, identity };
  const error = "The token belongs to another user: open another connection for it";
  return { ok: false, refusal: { code: ReplyCode.permissionDenied, error }, audit: `as user:${identity.userId}` };
}
