import { isDeepStrictEqual } from "node:util";
import { type CommandName, type Schedule, scheduleSchema, settingsChangeSchema } from "../../contract/commands.ts";
import type { CaptureCompleted } from "../../contract/events.ts";
import { explicitSettings } from "../cameras/explicit-settings.ts";
import type { StoredState } from "../host/camera-store.ts";
import type { Outcome, OutcomeLookup } from "./command-runner.ts";

export interface OutcomeLookupsOptions {
  session: () => string;
  state: () => Pick<StoredState, "settings" | "schedule">;
  scheduleResult: () => unknown;
  /** Reads a stored picture's description. Undefined when pictures are not stored. */
  describe: ((capture: string) => Promise<CaptureCompleted | undefined>) | undefined;
}

const NOT_DONE: Outcome = { status: "failed", error: "the camera restarted before the command was finished" };

export function outcomeLookups(options: OutcomeLookupsOptions): Partial<Record<CommandName, OutcomeLookup>> {
  const { session, state, scheduleResult, describe } = options;
  return {
    // An interrupted reboot has succeeded: the crash itself has restarted the camera.
    reboot: async () => ({ status: "succeeded", result: { session: session() } }),
    "settings.set": async (progress) => {
      const wanted = settingsChangeSchema.safeParse(progress?.args).data;
      if (wanted === undefined) return undefined;
      const settings = new Map(Object.entries(state().settings));
      const isDone = Object.entries(wanted).every(([name, value]) => settings.get(name) === value);
      return isDone ? { status: "succeeded", result: explicitSettings(state().settings) } : NOT_DONE;
    },
    "schedule.set": async (progress) => {
      const wanted: Schedule | undefined = scheduleSchema.safeParse(progress?.args).data;
      if (wanted === undefined) return undefined;
      return isDeepStrictEqual(wanted, state().schedule) ? { status: "succeeded", result: scheduleResult() } : NOT_DONE;
    },
    "capture.now": async (progress) => {
      if (progress === undefined) return undefined;
      if (progress.capture === undefined) return NOT_DONE;
      if (describe === undefined) return undefined;
      const picture = await describe(progress.capture);
      return picture === undefined ? NOT_DONE : { status: "succeeded", result: picture };
    },
  };
}
