import { isDeepStrictEqual } from "node:util";
import { type CommandName, type Schedule, scheduleSchema, settingsChangeSchema } from "../../contract/commands.ts";
import type { CaptureCompleted } from "../../contract/events.ts";
import { givenSettings } from "../cameras/wanted-settings.ts";
import type { Kept } from "../host/camera-store.ts";
import type { LookUp, Outcome } from "./commands.ts";

export interface LookUpOptions {
  /** The boot that asks. */
  session: () => string;
  kept: () => Pick<Kept, "settings" | "schedule">;
  /** What a schedule that is followed is answered with. */
  scheduled: () => unknown;
  /** Describes a picture that is kept; resolves to undefined when it is not. Undefined: none is ever kept. */
  describe: ((capture: string) => Promise<CaptureCompleted | undefined>) | undefined;
}

const UNDONE: Outcome = { status: "failed", error: "the camera restarted before it was done" };

/** Where it is told what came of a command that a crash interrupted: by its traces. Of others nothing tells. */
export function commandLookUps({
  session,
  kept,
  scheduled,
  describe,
}: LookUpOptions): Partial<Record<CommandName, LookUp>> {
  return {
    // Another session is what was asked for.
    reboot: async () => ({ status: "succeeded", result: { session: session() } }),
    "settings.set": async (progress) => {
      const wanted = settingsChangeSchema.safeParse(progress?.args).data;
      if (wanted === undefined) return undefined;
      const settings = new Map(Object.entries(kept().settings));
      const done = Object.entries(wanted).every(([name, value]) => settings.get(name) === value);
      return done ? { status: "succeeded", result: givenSettings(kept().settings) } : UNDONE;
    },
    "schedule.set": async (progress) => {
      const wanted: Schedule | undefined = scheduleSchema.safeParse(progress?.args).data;
      if (wanted === undefined) return undefined;
      return isDeepStrictEqual(wanted, kept().schedule) ? { status: "succeeded", result: scheduled() } : UNDONE;
    },
    "capture.now": async (progress) => {
      if (progress === undefined) return undefined;
      if (progress.capture === undefined) return UNDONE;
      if (describe === undefined) return undefined;
      const picture = await describe(progress.capture);
      return picture === undefined ? UNDONE : { status: "succeeded", result: picture };
    },
  };
}
