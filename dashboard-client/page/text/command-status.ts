import { ReplyCode } from "../../../contract/codes.ts";
import type { CommandStatus } from "../../../contract/commands.ts";
import type { Presence } from "../../../contract/events.ts";
import type { CommandResult } from "../../client/commands.ts";
import { NotConnectedError, OutcomeUnknownError, RequestRefusedError } from "../../client/errors.ts";

export interface CommandText {
  text: string;
  /** `busy`: more will be said. */
  tone: "busy" | "good" | "bad";
}

const STEPS: Record<Extract<CommandStatus, "sent" | "delivered" | "accepted">, string> = {
  sent: "Sent · waiting for the camera",
  delivered: "The camera has it",
  accepted: "Taking the picture…",
};

/** Before anything is heard of it: to a camera that sleeps nothing is sent before it wakes. */
export function captureAsked(presence: Presence["status"] | undefined): CommandText {
  return { text: presence === "sleeping" ? "Waiting for the camera to wake up…" : "Sending…", tone: "busy" };
}

/** What can be said of `capture.now`, and no more: "has it" only after the camera's own acknowledgement. */
export function captureProgress({ status, error, code }: CommandResult): CommandText {
  switch (status) {
    case "sent":
    case "delivered":
    case "accepted":
      return { text: STEPS[status], tone: "busy" };
    case "succeeded":
      return { text: "Picture taken", tone: "good" };
    case "failed":
      if (code === ReplyCode.deviceOffline) return bad("The camera is offline · nothing was taken");
      return bad(`Failed${because(error)}`);
    case "rejected":
      // With any other code it was the server that refused, before the camera heard of it.
      return bad(`${code === ReplyCode.commandRejected ? "The camera refused" : "Not sent"}${because(error)}`);
    case "unknown":
      return bad(`Not known whether the picture was taken${because(error)}`);
    case "timed_out":
      return bad(`No answer${because(error)} · it may still take the picture`);
    case "expired":
      return bad(`Expired${because(error)}`);
  }
}

export function captureFailure(error: unknown): CommandText {
  if (error instanceof NotConnectedError) return bad("Not connected · nothing was sent");
  if (error instanceof OutcomeUnknownError) return bad("The connection was lost · it may still take the picture");
  if (error instanceof RequestRefusedError && error.code === ReplyCode.permissionDenied)
    return bad("You may not command this camera");
  return bad(error instanceof Error ? error.message : "Failed");
}

function bad(text: string): CommandText {
  return { text, tone: "bad" };
}

function because(error: string | undefined): string {
  return error === undefined ? "" : ` · ${error}`;
}
