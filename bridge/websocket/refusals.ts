import { ReplyCode } from "../../contract/codes.ts";

export interface Refusal {
  code: ReplyCode;
  error: string;
}

export const STORE_UNAVAILABLE: Refusal = {
  code: ReplyCode.storeUnavailable,
  error: "The event store is unavailable: try again in a moment",
};

export const TOKEN_EXPIRED: Refusal = { code: ReplyCode.tokenExpired, error: "The token has expired: renew it first" };

export const TOKEN_NOT_VERIFIED: Refusal = {
  code: ReplyCode.internal,
  error: "The token cannot be verified now: try again",
};
