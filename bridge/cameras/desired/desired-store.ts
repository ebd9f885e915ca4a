import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { scheduleSchema, settingsChangeSchema } from "../../../contract/commands.ts";
import type { DesiredName } from "../../../contract/desired.ts";
import { changeDocument } from "../../auth/change-document.ts";
import type { Documents, Json } from "../../cluster/cluster.ts";
import type { AppliedCommand } from "../../commands/commands.ts";

/** The name of the collection of {@link DesiredDocument}s, by camera. It is on disk and in Redis: it must not change. */
export const DESIRED = "desired-states";
/** The ids of the commands by which the server itself sends a desired state begin with this. */
export const DESIRED_COMMAND = "desired.";

function part<Value extends z.ZodType>(value: Value) {
  return z.object({
    version: z.number().int().positive(),
    value,
    by: z.string(),
    /** Milliseconds since 1970. */
    at: z.number(),
    /** The number of commands for this version whose outcome is known. */
    attempt: z.number().int().nonnegative(),
    /** Whether the camera has had this version. */
    confirmed: z.boolean(),
    /** The camera refused the version in this session. */
    failure: z.object({ session: z.string().optional(), error: z.string() }).optional(),
  });
}

export const desiredDocumentSchema = z.object({
  schedule: part(scheduleSchema).optional(),
  settings: part(settingsChangeSchema).optional(),
});
export type DesiredDocument = z.infer<typeof desiredDocumentSchema>;
export type DesiredPart = NonNullable<DesiredDocument[DesiredName]>;

export interface DesiredStates {
  /**
   * Keeps what somebody wants a camera to have, as a new version. The camera need not be connected.
   * @param value checked by the contract
   * @throws {StoreUnavailableError}
   */
  set(camera: string, name: DesiredName, value: unknown, by: string): Promise<DesiredPart>;
  /** Takes a command of somebody as the newest wish, so that the server does not undo it. @throws {StoreUnavailableError} */
  adopt(command: AppliedCommand): Promise<void>;
}

/** @param documents shared by all nodes */
export function desiredStates(
  documents: Pick<Documents, "get" | "put" | "delete">,
  now: () => number = Date.now,
): DesiredStates {
  return {
    async set(camera, name, value, by) {
      const fresh = { value, by, at: now(), attempt: 0, confirmed: false };
      return await put(documents, camera, name, (before) => ({ ...fresh, version: (before?.version ?? 0) + 1 }));
    },
    async adopt({ id, camera, name: command, args, by, issuedAt }) {
      const name = command === "schedule.set" ? "schedule" : command === "settings.set" ? "settings" : undefined;
      if (name === undefined || id.startsWith(DESIRED_COMMAND)) return;
      await put(documents, camera, name, (before) => {
        // Somebody wanted something else after this command was issued.
        if (before !== undefined && before.at > issuedAt) return before;
        // A command changes some settings and leaves the others.
        const value = name === "settings" ? { ...before?.value, ...settingsChangeSchema.parse(args) } : args;
        if (before?.confirmed && isDeepStrictEqual(before.value, value)) return before;
        return { version: (before?.version ?? 0) + 1, value, by, at: issuedAt, attempt: 0, confirmed: true };
      });
    },
  };
}

/** Notes what became of a version, unless there is a newer version. @throws {StoreUnavailableError} */
export async function noteOutcome(
  documents: Pick<Documents, "get" | "put" | "delete">,
  { camera, name, version }: { camera: string; name: DesiredName; version: number },
  outcome: Partial<Pick<DesiredPart, "attempt" | "confirmed" | "failure">>,
): Promise<void> {
  await put(documents, camera, name, (before) => {
    if (before === undefined) throw new Error("the desired state was removed");
    return before.version === version ? { ...before, ...outcome } : before;
  });
}

async function put(
  documents: Pick<Documents, "get" | "put" | "delete">,
  camera: string,
  name: DesiredName,
  change: (before: DesiredPart | undefined) => unknown,
): Promise<DesiredPart> {
  let changed: DesiredPart | undefined;
  await changeDocument(documents, { collection: DESIRED, key: camera }, (stored) => {
    const before = desiredDocumentSchema.safeParse(stored?.value).data ?? {};
    const after = desiredDocumentSchema.parse({ ...before, [name]: change(before[name]) });
    changed = after[name];
    return { value: json(after) };
  });
  if (changed === undefined) throw new Error("a desired state was not stored");
  return changed;
}

/** Without members that are undefined. */
function json(document: DesiredDocument): Json {
  return z.json().parse(JSON.parse(JSON.stringify(document)));
}
