import { isDeepStrictEqual } from "node:util";
import { cameraSettingsSchema } from "../../../contract/camera-about.ts";
import { scheduleSchema } from "../../../contract/commands.ts";
import { DESIRED_NAMES, type DesiredName, type DesiredState } from "../../../contract/desired.ts";
import type { DesiredDocument, DesiredPart } from "./desired-store.ts";

/**
 * Whether a camera's report agrees with what is desired. A setting that is reset agrees with a report that does not name
 * it: the camera chooses the value. Settings that nobody wants are not compared.
 * @returns undefined when the camera reports nothing readable
 */
export function agrees(name: DesiredName, desired: unknown, reported: unknown): boolean | undefined {
  if (name === "schedule") {
    const schedule = scheduleSchema.safeParse(reported).data;
    return schedule === undefined ? undefined : isDeepStrictEqual(schedule, desired);
  }
  const settings = cameraSettingsSchema.safeParse(reported).data;
  if (settings === undefined) return undefined;
  const values = new Map<string, unknown>(Object.entries(settings));
  return Object.entries(desired ?? {}).every(([setting, value]) => (values.get(setting) ?? null) === (value ?? null));
}

/** @param differsSince milliseconds since 1970; undefined for a part that agrees with the camera's report */
export function viewOf(
  document: DesiredDocument,
  differsSince: (name: DesiredName) => number | undefined,
): DesiredState | null {
  const parts = DESIRED_NAMES.flatMap((name) => {
    const part = document[name];
    return part === undefined ? [] : [[name, partView(part, differsSince(name))] as const];
  });
  return parts.length === 0 ? null : Object.fromEntries(parts);
}

function partView({ version, value, by, at, confirmed, failure }: DesiredPart, differsSince: number | undefined) {
  const shown = { version, value, by, at: new Date(at).toISOString() };
  if (differsSince === undefined) return { ...shown, status: "applied" };
  const since = { ...shown, differs_since: new Date(differsSince).toISOString() };
  if (failure !== undefined) return { ...since, status: "failed", error: failure.error };
  return { ...since, status: confirmed ? "differs" : "pending" };
}
