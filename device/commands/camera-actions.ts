import {
  type Command,
  type CommandName,
  commandArgs,
  type Schedule,
  type WantedSettings,
} from "../../contract/commands.ts";
import type { Pictures } from "../capture/pictures.ts";
import type { Sleeper } from "../capture/sleep.ts";
import { type Action, action } from "./command-runner.ts";

export interface CameraActionsOptions {
  pictures: Pictures;
  sleeper: Sleeper;
  setSchedule: (schedule: Schedule) => Promise<unknown>;
  setSettings: (settings: WantedSettings) => Promise<unknown>;
  reboot: () => Promise<unknown>;
}

export function cameraActions(options: CameraActionsOptions): Record<CommandName, Action> {
  const { pictures, sleeper, setSchedule, setSettings, reboot } = options;
  return {
    "capture.now": action(commandArgs["capture.now"], (_, note) => pictures.now((capture) => note({ capture }))),
    "schedule.set": action(commandArgs["schedule.set"], setSchedule),
    "settings.set": action(commandArgs["settings.set"], setSettings),
    "preview.send": action(commandArgs["preview.send"], ({ capture }) => pictures.sendAgain(capture)),
    reboot: action(commandArgs.reboot, reboot),
    sleep: action(
      commandArgs.sleep,
      async ({ until }, _, command) => {
        const end = new Date(until);
        const lengthMs = lengthOf(until, command);
        void sleeper.sleepAfterReply(end, lengthMs);
        return { until: end.toISOString(), seconds: Math.round(lengthMs / 1000) };
      },
      ({ until }, command) => sleeper.problemOf(lengthOf(until, command)),
    ),
  };

  function lengthOf(until: string, { issued_at }: Pick<Command, "issued_at">): number {
    return sleeper.lengthOf({ until: new Date(until), issuedAt: new Date(issued_at) });
  }
}
