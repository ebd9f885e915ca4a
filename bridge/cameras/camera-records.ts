import { z } from "zod";
import { type CameraNote, type CameraRecord, cameraNoteSchema } from "../../contract/camera-records.ts";
import { CachedCollection, type StoreOptions } from "../auth/cached-collection.ts";
import type { CameraGroups } from "../auth/camera-groups.ts";
import { changeDocument } from "../auth/change-document.ts";
import type { Json } from "../cluster/cluster.ts";

/** Each node keeps all records of the deployment in memory. Twice the default of `MAX_CAMERAS`. */
export const MAX_CAMERA_RECORDS = 20_000;
const COLLECTION = "camera-records";

/** Absent fields stay, and null removes a field. */
export interface CameraRecordChange {
  name?: string | null | undefined;
  notes?: string | null | undefined;
  location?: CameraNote["location"] | null | undefined;
  tags?: readonly string[] | undefined;
}

/**
 * What operators write about cameras. After a change resolves, it is durable and in effect on this node; on other
 * nodes, a moment later.
 */
export interface CameraRecords {
  /** With the groups of the camera. Undefined when nothing is written and no group contains the camera. */
  get(camera: string): CameraRecord | undefined;
  /** The cameras that may have a record. */
  cameras(): Iterable<string>;
  /** @throws {TooManyCameraRecordsError} @throws {StoreUnavailableError} */
  update(camera: string, change: CameraRecordChange): Promise<void>;
  /** Removes nothing when there is no record. @throws {StoreUnavailableError} */
  remove(camera: string): Promise<void>;
  /** Calls back with the cameras whose records changed; undefined when any may have changed. @returns unsubscribes */
  onChange(listener: (cameras: readonly string[] | undefined) => void): () => void;
  stop(): void;
}

export class TooManyCameraRecordsError extends Error {
  override name = "TooManyCameraRecordsError";
}

const documentSchema = cameraNoteSchema.extend({ tags: z.array(z.string()) });

/** @throws {StoreUnavailableError} */
export async function openCameraRecords(
  { documents, logger }: StoreOptions,
  groups: Pick<CameraGroups, "of" | "cameras" | "onChange">,
): Promise<CameraRecords> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  return {
    get(camera) {
      const note = collection.get(camera) ?? { tags: [] };
      const inGroups = groups.of(camera).map(({ id, name }) => ({ id, name }));
      return isEmpty(note) && inGroups.length === 0 ? undefined : { ...note, groups: inGroups };
    },
    cameras: () => new Set([...collection.keys(), ...groups.cameras()]),
    async update(camera, change) {
      if (collection.get(camera) === undefined && collection.size >= MAX_CAMERA_RECORDS)
        throw new TooManyCameraRecordsError(`There are ${MAX_CAMERA_RECORDS} camera records already: clear one first`);
      await changeDocument(documents, { collection: COLLECTION, key: camera }, (stored) => {
        const value = json(changed(documentSchema.safeParse(stored?.value).data ?? { tags: [] }, change));
        // A cleared record must not count towards MAX_CAMERA_RECORDS.
        return isEmpty(value) ? undefined : { value };
      });
      await collection.refresh(camera);
    },
    async remove(camera) {
      await documents.delete(COLLECTION, camera);
      await collection.refresh(camera);
    },
    onChange(listener) {
      const ends = [collection.onChange(listener), groups.onChange(() => listener(undefined))];
      return () => {
        for (const end of ends) end();
      };
    },
    stop: () => collection.stop(),
  };
}

function isEmpty(note: CameraNote): boolean {
  return Object.keys(note).length === 1 && note.tags.length === 0;
}

function changed(before: CameraNote, { name, notes, location, tags }: CameraRecordChange): CameraNote {
  const merged = <Value>(field: Value | undefined, given: Value | null | undefined) =>
    given === undefined ? field : (given ?? undefined);
  return {
    name: merged(before.name, name),
    notes: merged(before.notes, notes),
    location: merged(before.location, location),
    tags: [...new Set(tags ?? before.tags)],
  };
}

/** JSON cannot express undefined properties. */
function json({ name, notes, location, tags }: CameraNote): CameraNote & { [field: string]: Json } {
  return {
    ...(name === undefined ? {} : { name }),
    ...(notes === undefined ? {} : { notes }),
    ...(location === undefined ? {} : { location: { ...location } }),
    tags,
  };
}
