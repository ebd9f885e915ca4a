import { ReplyCode } from "../../../contract/codes.ts";
import type { CommandStatus } from "../../../contract/commands.ts";
import type { Presence } from "../../../contract/events.ts";
import type { CommandResult } from "../../client/commands.ts";
import { NotConnectedError, OutcomeUnknownError, RequestRefusedError } from "../../client/errors.ts";

export interface CommandText {
  text: string;
  /** `busy`: the outcome is not known yet. */
  tone: "busy" | "good" | "bad";
}

const STEPS: Record<Extract<CommandStatus, "sent" | "delivered" | "accepted">, string> = {
  sent: "Sent · waiting for the camera",
  delivered: "The camera has the command",
  accepted: "Taking the picture…",
};

/** The text before the first status. A command for a sleeping camera is sent once the camera wakes up. */
export function captureRequested(presence: Presence["status"] | undefined): CommandText {
  return { text: presence === "sleeping" ? "Waiting for the camera to wake up…" : "Sending…", tone: "busy" };
}

export function captureProgress({ status, error, code }: CommandResult): CommandText {
  switch (status) {
    case "sent":
    case "delivered":
    case "accepted":
      return { text: STEPS[status], tone: "busy" };
    case "succeeded":
      return { text: "Picture taken", tone: "good" };
    case "failed":
      if (code === ReplyCode.deviceOffline) return bad("The camera is offline · no picture was taken");
      return bad(`Failed${because(error)}`);
    case "rejected":
      // With any other code, the server did not send the command to the camera.
      return bad(`${code === ReplyCode.commandRejected ? "The camera refused" : "Not sent"}${because(error)}`);
    case "unknown":
      return bad(`The camera may have taken the picture${because(error)}`);
    case "timed_out":
      return bad(`No answer${because(error)} · the camera may still take the picture`);
    case "expired":
      return bad(`Expired${because(error)}`);
  }
}

export function captureFailure(error: unknown): CommandText {
  if (error instanceof NotConnectedError) return bad("Not connected · the command was not sent");
  if (error instanceof OutcomeUnknownError)
    return bad("The connection was lost · the camera may still take the picture");
  if (error instanceof RequestRefusedError && error.code === ReplyCode.permissionDenied)
    return bad("You have no permission to control this camera");
  return bad(error instanceof Error ? error.message : "Failed");
}

function bad(text: string): CommandText {
  return { text, tone: "bad" };
}

function because(error: string | undefined): string {
  return error === undefined ? "" : ` · ${error}`;
}
