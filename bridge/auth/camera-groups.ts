import { createHash } from "node:crypto";
import { z } from "zod";
import { groupCamerasSchema, groupNameSchema } from "../../contract/camera-records.ts";
import type { Json } from "../cluster/cluster.ts";
import { CachedCollection, type StoreOptions } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";

/** Each node keeps all groups of the deployment in memory. */
export const MAX_CAMERA_GROUPS = 200;
const COLLECTION = "camera-groups";

/** A group of cameras that an admin made. An account may be limited to groups. */
export interface CameraGroup {
  id: string;
  name: string;
  /** Ids of cameras, which need not be registered yet. */
  cameras: readonly string[];
}

/**
 * After a change resolves, it is durable and in effect on this node; on other nodes, a moment later. Every change may
 * throw {@link StoreUnavailableError}.
 */
export interface CameraGroups {
  /** Sorted by id. */
  list(): CameraGroup[];
  get(id: string): CameraGroup | undefined;
  /** Reads all groups again, because another node may have changed them a moment ago. @throws {StoreUnavailableError} */
  refresh(): Promise<void>;
  /** The groups that contain the camera, sorted by id. */
  of(camera: string): readonly CameraGroup[];
  /** The cameras in any group. */
  cameras(): Iterable<string>;
  /** @throws {CameraGroupError} the id is in use, or there are too many groups */
  add(group: CameraGroup): Promise<CameraGroup>;
  /**
   * Open connections of limited accounts get and lose cameras at once.
   * @param change.version the {@link versionOf} of the group that the caller has read. Default: any version is changed
   * @throws {UnknownCameraGroupError} @throws {CameraGroupError} the group has another version now
   */
  update(
    id: string,
    change: { name?: string | undefined; cameras?: readonly string[] | undefined; version?: string | undefined },
  ): Promise<CameraGroup>;
  /** @throws {UnknownCameraGroupError} */
  remove(id: string): Promise<void>;
  /** Takes the camera out of all groups, so that a later camera with its id belongs to none. */
  removeCamera(camera: string): Promise<void>;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export class CameraGroupError extends Error {
  override name = "CameraGroupError";
}

export class UnknownCameraGroupError extends CameraGroupError {
  override name = "UnknownCameraGroupError";
}

const documentSchema = z.object({ name: groupNameSchema, cameras: groupCamerasSchema });
type GroupDocument = z.infer<typeof documentSchema>;

/** @throws {StoreUnavailableError} */
export async function openCameraGroups({ documents, logger }: StoreOptions): Promise<CameraGroups> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  let byCamera = new Map<string, CameraGroup[]>();
  const index = () => {
    byCamera = new Map();
    for (const group of list())
      for (const camera of group.cameras) byCamera.set(camera, [...(byCamera.get(camera) ?? []), group]);
  };

  function get(id: string): CameraGroup | undefined {
    const document = collection.get(id);
    return document === undefined ? undefined : { id, ...document };
  }

  function list(): CameraGroup[] {
    return [...collection.keys()].sort().flatMap((id) => get(id) ?? []);
  }

  async function change(id: string, decide: (before: GroupDocument) => GroupDocument): Promise<CameraGroup> {
    await changeDocument(documents, { collection: COLLECTION, key: id }, (stored) => {
      const before = documentSchema.safeParse(stored?.value);
      if (!before.success) throw unknown(id);
      return { value: json(decide(before.data)) };
    });
    return await refreshed(id);
  }

  async function refreshed(id: string): Promise<CameraGroup> {
    await collection.refresh(id);
    const group = get(id);
    if (group === undefined) throw unknown(id);
    return group;
  }

  // The first listener: later ones call `of`.
  collection.onChange(index);
  index();

  return {
    list,
    get,
    refresh: () => collection.refresh(),
    of: (camera) => byCamera.get(camera) ?? [],
    cameras: () => byCamera.keys(),
    async add({ id, ...document }) {
      if (collection.size >= MAX_CAMERA_GROUPS)
        throw new CameraGroupError(`There are ${MAX_CAMERA_GROUPS} camera groups already: remove one first`);
      if ((await documents.put(COLLECTION, id, json(document), { ifVersion: null })) === undefined)
        throw new CameraGroupError(
          `There is a camera group ${JSON.stringify(id)} already: change it or choose another id`,
        );
      return await refreshed(id);
    },
    update: (id, { name, cameras, version }) =>
      change(id, (before) => {
        if (version !== undefined && version !== versionOf(before))
          throw new CameraGroupError("Somebody else has changed the group meanwhile: read it again");
        return { name: name ?? before.name, cameras: [...(cameras ?? before.cameras)] };
      }),
    async remove(id) {
      if (!(await documents.delete(COLLECTION, id))) throw unknown(id);
      await collection.refresh(id);
    },
    async removeCamera(camera) {
      // Another node may have added the camera to a group a moment ago.
      await collection.refresh();
      for (const { id } of byCamera.get(camera) ?? [])
        await change(id, ({ name, cameras }) => ({ name, cameras: cameras.filter((other) => other !== camera) })).catch(
          (error: unknown) => {
            // Another request has removed the group in the meantime.
            if (!(error instanceof UnknownCameraGroupError)) throw error;
          },
        );
    },
    onChange: (listener) => collection.onChange(() => listener()),
    stop: () => collection.stop(),
  };
}

/** Names the content of a group: every change of the name or of the cameras gives another version. */
export function versionOf({ name, cameras }: Pick<CameraGroup, "name" | "cameras">): string {
  return createHash("sha256")
    .update(JSON.stringify([name, cameras]))
    .digest("base64url")
    .slice(0, 16);
}

const json = ({ name, cameras }: Pick<CameraGroup, "name" | "cameras">): Json => ({
  name,
  cameras: [...new Set(cameras)],
});

const unknown = (id: string) => new UnknownCameraGroupError(`There is no camera group ${JSON.stringify(id)}`);
