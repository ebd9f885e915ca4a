import {
  type Command,
  type CommandName,
  commandArgs,
  type Schedule,
  type WantedSettings,
} from "../../contract/commands.ts";
import type { ReportCause } from "../../contract/events.ts";
import type { Pictures } from "../capture/pictures.ts";
import type { Sleeper } from "../capture/sleep.ts";
import { type Action, action, type IssuedCommand } from "./command-runner.ts";

export interface CameraActionsOptions {
  pictures: Pictures;
  sleeper: Sleeper;
  setSchedule: (schedule: Schedule, cause: ReportCause) => Promise<unknown>;
  setSettings: (settings: WantedSettings, cause: ReportCause) => Promise<unknown>;
  reboot: () => Promise<unknown>;
}

export function cameraActions(options: CameraActionsOptions): Record<CommandName, Action> {
  const { pictures, sleeper, setSchedule, setSettings, reboot } = options;
  return {
    "capture.now": action(commandArgs["capture.now"], (_, note) => pictures.now((capture) => note({ capture }))),
    "schedule.set": action(commandArgs["schedule.set"], (schedule, _, command) =>
      setSchedule(schedule, causeOf(command)),
    ),
    "settings.set": action(commandArgs["settings.set"], (settings, _, command) =>
      setSettings(settings, causeOf(command)),
    ),
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

function causeOf({ id, issued_by }: IssuedCommand): ReportCause {
  return { kind: "command", command_id: id, by: issued_by };
}
