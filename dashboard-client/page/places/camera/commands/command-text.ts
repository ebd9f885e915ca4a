import { ReplyCode } from "../../../../../contract/codes.ts";
import { NotConnectedError, OutcomeUnknownError } from "../../../../client/errors.ts";
import type { CommandProgress } from "../../../../react/use-command.ts";
import { t, textOf } from "../../../text/i18n.ts";

export interface StepText {
  text: string;
  tone: "quiet" | "good" | "bad" | "warn";
}

export function commandName(name: string): string {
  return textOf("manage.command", name) ?? name;
}

/** A status of the server, of the camera or of this page. An unknown status of a newer server is shown as it is. */
export function statusText(status: string, error?: string, code?: number): StepText {
  const tone = { succeeded: "good", unknown: "warn", timed_out: "warn" } as const;
  const bad = status === "failed" || status === "rejected" || status === "expired";
  const name = code === ReplyCode.deviceOffline ? "offline" : status;
  const text = textOf("manage.status", name) ?? status;
  return {
    text: error === undefined || name === "offline" ? text : t("manage.statusBecause", { status: text, reason: error }),
    tone: tone[status as keyof typeof tone] ?? (bad ? "bad" : "quiet"),
  };
}

/** The progress of the newest command of this page; undefined before the first one. */
export function progressText(state: CommandProgress, isSleeping: boolean): StepText | undefined {
  switch (state.status) {
    case "idle":
      return undefined;
    case "pending": {
      const { status } = state.progress ?? {};
      return status === undefined
        ? { text: t(isSleeping ? "command.waitingForWake" : "command.sending"), tone: "quiet" }
        : statusText(status);
    }
    case "done":
      return statusText(state.result.status, state.result.error, state.result.code);
    case "failed": {
      const { error } = state;
      if (error instanceof NotConnectedError) return { text: t("command.notConnected"), tone: "bad" };
      if (error instanceof OutcomeUnknownError) return { text: t("manage.outcomeUnknown"), tone: "warn" };
      return { text: error instanceof Error ? error.message : t("common.failed"), tone: "bad" };
    }
  }
}
