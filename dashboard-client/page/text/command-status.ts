import { ReplyCode } from "../../../contract/codes.ts";
import type { Presence } from "../../../contract/events.ts";
import type { CommandResult } from "../../client/commands.ts";
import { NotConnectedError, OutcomeUnknownError, RequestRefusedError } from "../../client/errors.ts";
import { t } from "./i18n.ts";

export interface CommandText {
  text: string;
  /** `busy`: the outcome is not known yet. */
  tone: "busy" | "good" | "bad";
}

/** The text before the first status. A command for a sleeping camera is sent once the camera wakes up. */
export function captureRequested(presence: Presence["status"] | undefined): CommandText {
  return { text: t(presence === "sleeping" ? "command.waitingForWake" : "command.sending"), tone: "busy" };
}

export function captureProgress({ status, error, code }: CommandResult): CommandText {
  switch (status) {
    case "sent":
    case "delivered":
    case "accepted":
      return { text: t(`command.${status}`), tone: "busy" };
    case "succeeded":
      return { text: t("command.taken"), tone: "good" };
    case "failed":
      if (code === ReplyCode.deviceOffline) return bad(t("command.cameraOffline"));
      return bad(t("command.failed", because(error)));
    case "rejected":
      // With any other code, the server did not send the command to the camera.
      return bad(t(code === ReplyCode.commandRejected ? "command.refusedByCamera" : "command.notSent", because(error)));
    case "unknown":
      return bad(t("command.mayHaveTaken", because(error)));
    case "timed_out":
      return bad(t("command.noAnswer", because(error)));
    case "expired":
      return bad(t("command.expired", because(error)));
  }
}

export function captureFailure(error: unknown): CommandText {
  if (error instanceof NotConnectedError) return bad(t("command.notConnected"));
  if (error instanceof OutcomeUnknownError) return bad(t("command.connectionLost"));
  if (error instanceof RequestRefusedError && error.code === ReplyCode.permissionDenied)
    return bad(t("command.noPermission"));
  return bad(error instanceof Error ? error.message : t("common.failed"));
}

function bad(text: string): CommandText {
  return { text, tone: "bad" };
}

function because(error: string | undefined): { because: string } {
  return { because: error === undefined ? "" : ` · ${error}` };
}
