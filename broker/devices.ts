import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { chmod, mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { idSchema } from "../contract/ids.ts";

/** What {@link DeviceStore.add} makes when no secret is given: 256 bits, as 43 characters. */
const SECRET_BYTES = 32;
/** The shortest secret that is taken; 32 characters of base64 are 192 bits. */
export const MIN_DEVICE_SECRET_LENGTH = 32;
const SALT_BYTES = 16;

const deviceSchema = z.strictObject({
  id: idSchema,
  kind: z.enum(["camera", "processing"]),
  salt: z.base64url(),
  hash: z.base64url(),
  changedAt: z.iso.datetime(),
});
type StoredDevice = z.infer<typeof deviceSchema>;

const fileSchema = z.strictObject({ version: z.literal(1), devices: z.array(deviceSchema) });

export type DeviceKind = StoredDevice["kind"];

/** A camera or processing service that may connect with its id and secret. */
export interface Device {
  id: string;
  kind: DeviceKind;
  /** When its secret was made, RFC 3339. */
  changedAt: string;
}

/** Something is wrong with the devices or with what was asked of them; the message says what. */
export class DeviceError extends Error {
  override name = "DeviceError";
}

/** Who may connect without a token. Cameras and services share one space of ids, for the id is their user name. */
export interface DeviceStore {
  list(): readonly Device[];
  get(id: string): Device | undefined;
  /**
   * @param device.secret at least 32 characters; made when not given
   * @returns the secret, which is not kept anywhere
   * @throws {DeviceError} the id is taken, or is no id, or the secret is too short
   */
  add(device: { id: string; kind: DeviceKind; secret?: string | undefined }): Promise<{ secret: string }>;
  /** Adds the device, or gives it this kind and secret; does nothing when it has them. @throws {DeviceError} as {@link add} */
  set(device: { id: string; kind: DeviceKind; secret: string }): Promise<void>;
  /** Replaces the secret; connections made with the old one end. @throws {DeviceError} no such device */
  rotate(id: string, secret?: string): Promise<{ secret: string }>;
  /** Its connections end. @returns false when there was no such device */
  remove(id: string): Promise<boolean>;
  /** The device, when the secret is its own. Sees changes that another process made to the file. */
  verify(id: string, secret: string): Promise<Device | undefined>;
  /** Looks whether another process has changed the file; cheap when it has not. @throws {DeviceError} */
  refresh(): Promise<void>;
  /** Called with the id of a device whose secret is no longer good. */
  onChange(listener: (id: string) => void): () => void;
}

/**
 * Opens the devices that `path` holds; a file that is not there is a store without devices.
 * @throws {DeviceError} the file cannot be read or understood
 */
export async function openDevices(path: string): Promise<DeviceStore> {
  const devices = new DeviceFile(path);
  await devices.refresh();
  return devices;
}

/**
 * A secret is hashed by one salted SHA-256, not by scrypt or argon2: those make guessing of passwords that people choose
 * slow, but 192 random bits cannot be guessed at any speed, and a hundred cameras that come back together after a power
 * cut would wait for seconds of a slow hash.
 */
class DeviceFile implements DeviceStore {
  readonly #path: string;
  readonly #listeners = new Set<(id: string) => void>();
  #devices = new Map<string, StoredDevice>();
  /** Tells a file that another process has written. */
  #stamp = "";
  #writing: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  list(): readonly Device[] {
    return [...this.#devices.values()].map(publicPart);
  }

  get(id: string): Device | undefined {
    const device = this.#devices.get(id);
    return device === undefined ? undefined : publicPart(device);
  }

  add({
    id,
    kind,
    secret,
  }: {
    id: string;
    kind: DeviceKind;
    secret?: string | undefined;
  }): Promise<{ secret: string }> {
    return this.#change(() => {
      if (this.#devices.has(id))
        throw new DeviceError(`there is a device "${id}" already: rotate its secret or remove it`);
      return this.#put(id, kind, secret);
    }, id);
  }

  async set({ id, kind, secret }: { id: string; kind: DeviceKind; secret: string }): Promise<void> {
    const device = await this.verify(id, secret);
    if (device?.kind !== kind) await this.#change(() => this.#put(id, kind, secret), id);
  }

  rotate(id: string, secret?: string): Promise<{ secret: string }> {
    return this.#change(() => {
      const device = this.#devices.get(id);
      if (device === undefined) throw new DeviceError(`there is no device "${id}"`);
      return this.#put(id, device.kind, secret);
    }, id);
  }

  remove(id: string): Promise<boolean> {
    return this.#change(() => this.#devices.delete(id), id);
  }

  async verify(id: string, secret: string): Promise<Device | undefined> {
    await this.refresh();
    const device = this.#devices.get(id);
    // A device that is not there costs the same time as one that is.
    const salt = device === undefined ? NO_SALT : Buffer.from(device.salt, "base64url");
    const expected = device === undefined ? NO_HASH : Buffer.from(device.hash, "base64url");
    const given = hash(secret, salt);
    const matches = expected.length === given.length && timingSafeEqual(expected, given);
    return matches && device !== undefined ? publicPart(device) : undefined;
  }

  onChange(listener: (id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async refresh(): Promise<void> {
    const stamp = await stampOf(this.#path);
    if (stamp === this.#stamp) return;
    const before = this.#devices;
    this.#devices = stamp === "" ? new Map() : await read(this.#path);
    this.#stamp = stamp;
    for (const [id, device] of before) {
      if (this.#devices.get(id)?.hash !== device.hash) this.#tell(id);
    }
  }

  #put(id: string, kind: DeviceKind, secret = randomBytes(SECRET_BYTES).toString("base64url")): { secret: string } {
    const problem = idSchema.safeParse(id).error?.issues[0]?.message;
    if (problem !== undefined) throw new DeviceError(`the device id ${problem}, not "${id}"`);
    if (secret.length < MIN_DEVICE_SECRET_LENGTH) {
      throw new DeviceError(`the secret of "${id}" is shorter than ${MIN_DEVICE_SECRET_LENGTH} characters`);
    }
    const salt = randomBytes(SALT_BYTES);
    this.#devices.set(id, {
      id,
      kind,
      salt: salt.toString("base64url"),
      hash: hash(secret, salt).toString("base64url"),
      changedAt: new Date().toISOString(),
    });
    return { secret };
  }

  /** One change after the other, each on what the file holds, each on disk before it is answered. */
  #change<Result>(change: () => Result, changedId: string): Promise<Result> {
    const changing = this.#writing.then(async () => {
      await this.refresh();
      const before = new Map(this.#devices);
      try {
        const result = change();
        await write(this.#path, [...this.#devices.values()]);
        this.#stamp = await stampOf(this.#path);
        this.#tell(changedId);
        return result;
      } catch (error) {
        this.#devices = before;
        throw error;
      }
    });
    this.#writing = changing.catch(() => undefined);
    return changing;
  }

  #tell(id: string): void {
    for (const listener of this.#listeners) listener(id);
  }
}

const NO_SALT = Buffer.alloc(SALT_BYTES);
const NO_HASH = Buffer.alloc(32);

function hash(secret: string, salt: Buffer): Buffer {
  return createHash("sha256").update(salt).update(secret).digest();
}

function publicPart({ id, kind, changedAt }: StoredDevice): Device {
  return { id, kind, changedAt };
}

/** Changes with every replacement of the file; empty when there is none. */
async function stampOf(path: string): Promise<string> {
  try {
    const { ino, mtimeMs, size } = await stat(path);
    return `${ino} ${mtimeMs} ${size}`;
  } catch (error) {
    if (isMissing(error)) return "";
    const why = error instanceof Error ? error.message : String(error);
    throw new DeviceError(`cannot read the devices in ${path} (${why}): check that DATA_PATH can be read`, {
      cause: error,
    });
  }
}

async function read(path: string): Promise<Map<string, StoredDevice>> {
  try {
    const { devices } = fileSchema.parse(JSON.parse(await readFile(path, "utf8")));
    return new Map(devices.map((device) => [device.id, device]));
  } catch (error) {
    if (isMissing(error)) return new Map();
    throw new DeviceError(
      `cannot understand the devices in ${path}: mend the file, or move it away and add them again`,
      {
        cause: error,
      },
    );
  }
}

/** Written whole beside the old file and put in its place, readable by its owner only. */
async function write(path: string, devices: readonly StoredDevice[]): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const draft = `${path}.new`;
  const file = await open(draft, "w", 0o600);
  try {
    // The mode above counts for a new file only.
    await chmod(draft, 0o600);
    await file.writeFile(`${JSON.stringify({ version: 1, devices }, null, 2)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(draft, path);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
