import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { z } from "zod";
import { idSchema, isId } from "../../contract/ids.ts";
import { Listeners } from "../../platform/listeners.ts";
import type { Json } from "../cluster/cluster.ts";
import { CachedCollection, type StoreOptions } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";

/** Each node keeps all devices of the deployment in memory. Twice the default of `MAX_CAMERAS`. */
export const MAX_DEVICES = 20_000;
/** 32 characters of base64 are 192 bits. */
export const MIN_DEVICE_SECRET_LENGTH = 32;
const MAX_DEVICE_SECRET_LENGTH = 256;
/** A generated secret has 43 characters of base64url. */
const SECRET_BYTES = 32;
const SALT_BYTES = 16;
const COLLECTION = "devices";
/** The collection of {@link Removal}s, by device id. Retained messages of these devices must be cleared. */
export const REMOVALS = "removed-devices";

export const deviceKindSchema = z.enum(["camera", "processing"]);
export type DeviceKind = z.infer<typeof deviceKindSchema>;

/** `removedAt` is in milliseconds since 1970. The device may still exist, because the removal is recorded first. */
export const removalSchema = z.object({ kind: deviceKindSchema, removedAt: z.number() });
export type Removal = z.infer<typeof removalSchema>;

export const deviceSecretSchema = z
  .string()
  .min(MIN_DEVICE_SECRET_LENGTH, `must have at least ${MIN_DEVICE_SECRET_LENGTH} characters`)
  .max(MAX_DEVICE_SECRET_LENGTH, `must have at most ${MAX_DEVICE_SECRET_LENGTH} characters`);

/** Logs show the name, so it is printable ASCII. The length is that of ub-common-name (RFC 5280). */
export const certificateNameSchema = z.string().regex(/^[ -~]{1,64}$/, "must be 1 to 64 printable ASCII characters");

/** The id is the MQTT user name, so a camera and a processing service never have the same id. */
export interface Device {
  id: string;
  kind: DeviceKind;
  /** The common name of the device's certificate. Undefined for a device with a secret. */
  certificateName: string | undefined;
  /** When the current credential was set, milliseconds since 1970. */
  changedAt: number;
}

/** A secret (default: a generated one), the salted hash of a secret, or the common name of a certificate. */
export type Credential = { secret?: string | undefined } | { salt: string; hash: string } | { certificateName: string };

/**
 * After a change resolves, it is durable and in effect on this node; on other nodes, a moment later. Every change may
 * throw {@link StoreUnavailableError}.
 */
export interface DeviceStore {
  /** Sorted by id. */
  list(): Device[];
  get(id: string): Device | undefined;
  /**
   * @returns the secret, which is not stored; undefined when the credential is a hash or a certificate name
   * @throws {DeviceError} the id or the certificate name is in use, or there are too many devices
   */
  add(device: { id: string; kind: DeviceKind; credential: Credential }): Promise<string | undefined>;
  /** Adds a device, or changes its kind and secret. Writes nothing when the device already has this kind and secret. */
  set(device: { id: string; kind: DeviceKind; secret: string }): Promise<void>;
  /** Ends the device's connections. @returns the new secret, as {@link add} does @throws {UnknownDeviceError} */
  rotate(id: string, credential: Credential): Promise<string | undefined>;
  /** Also ends the device's connections and clears its retained messages. @throws {UnknownDeviceError} */
  remove(id: string): Promise<void>;
  /** The device, if it has this secret. Reads from memory, so the method works while the store is unavailable. */
  verify(id: string, secret: string): Device | undefined;
  /** Undefined when two devices have this name. */
  withCertificate(name: string): Device | undefined;
  /** Calls back after any node removed a device, or changed its kind or credential. */
  onChange(listener: (id: string) => void): () => void;
  /** Calls back after any node added a device. */
  onAdd(listener: (device: Pick<Device, "id" | "kind">) => void): () => void;
  stop(): void;
}

export class DeviceError extends Error {
  override name = "DeviceError";
}

export class UnknownDeviceError extends DeviceError {
  override name = "UnknownDeviceError";
}

const proofSchema = z.union([
  /** Both base64url. */
  z.strictObject({ salt: z.string(), hash: z.string() }),
  z.strictObject({ certificateName: z.string() }),
]);
type Proof = z.infer<typeof proofSchema>;

const documentSchema = z.object({ kind: deviceKindSchema, proof: proofSchema, changedAt: z.number() });
type DeviceDocument = z.infer<typeof documentSchema>;

/**
 * Secrets are hashed with one round of salted SHA-256: 192 random bits cannot be guessed at any speed. With a slow hash
 * such as scrypt, a hundred cameras that reconnect together after a power cut would wait for seconds.
 * @throws {StoreUnavailableError}
 */
export async function openDevices({ documents, logger, now = Date.now }: StoreOptions): Promise<DeviceStore> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const changeListeners = new Listeners<[id: string]>(logger);
  const addListeners = new Listeners<[device: Pick<Device, "id" | "kind">]>(logger);
  /** The kind and proof of each device as JSON, to detect changes. */
  const proofs = new Map<string, string>();

  const detectChange = (id: string) => {
    const document = collection.get(id);
    const proof = document === undefined ? undefined : JSON.stringify([document.kind, document.proof]);
    const before = proofs.get(id);
    if (proof === undefined) proofs.delete(id);
    else proofs.set(id, proof);
    if (before === undefined && document !== undefined) addListeners.call({ id, kind: document.kind });
    if (before !== undefined && before !== proof) changeListeners.call(id);
  };
  const detectAllChanges = () => {
    for (const id of new Set([...proofs.keys(), ...collection.keys()])) detectChange(id);
  };
  collection.onChange((ids) => (ids === undefined ? detectAllChanges() : ids.forEach(detectChange)));
  detectAllChanges();

  function get(id: string): Device | undefined {
    const document = collection.get(id);
    return document === undefined ? undefined : deviceOf(id, document);
  }

  function withCertificate(name: string): Device | undefined {
    const [found, second] = [...collection.entries()].filter(
      ([, { proof }]) => "certificateName" in proof && proof.certificateName === name,
    );
    // Two nodes may have assigned the same name at the same time. The name then identifies no device.
    return found === undefined || second !== undefined ? undefined : deviceOf(...found);
  }

  /** @throws {DeviceError} */
  function proofOf(id: string, credential: Credential): { secret: string | undefined; proof: Proof } {
    if ("certificateName" in credential) {
      const { certificateName: name } = credential;
      const owner = withCertificate(name);
      if (owner !== undefined && owner.id !== id)
        throw new DeviceError(`the certificate name ${JSON.stringify(name)} belongs to "${owner.id}" already`);
      return { secret: undefined, proof: { certificateName: name } };
    }
    if ("hash" in credential) return { secret: undefined, proof: credential };
    const secret = credential.secret ?? randomBytes(SECRET_BYTES).toString("base64url");
    const salt = randomBytes(SALT_BYTES);
    const proof = { salt: salt.toString("base64url"), hash: hashOf(secret, salt).toString("base64url") };
    return { secret, proof };
  }

  function verify(id: string, secret: string): Device | undefined {
    const document = collection.get(id);
    const proof = document !== undefined && "hash" in document.proof ? document.proof : undefined;
    // An unknown device takes the same time as a known one, so the time does not reveal which ids exist.
    const expected = proof === undefined ? NO_HASH : Buffer.from(proof.hash, "base64url");
    const given = hashOf(secret, proof === undefined ? NO_SALT : Buffer.from(proof.salt, "base64url"));
    const matches = expected.length === given.length && timingSafeEqual(expected, given);
    return matches && proof !== undefined && document !== undefined ? deviceOf(id, document) : undefined;
  }

  async function put(id: string, kind: DeviceKind, proof: Proof, ifVersion?: null): Promise<boolean> {
    const document: DeviceDocument = { kind, proof, changedAt: now() };
    const version = await documents.put(COLLECTION, id, json(document), ifVersion === null ? { ifVersion } : {});
    await collection.refresh(id);
    return version !== undefined;
  }

  return {
    list: () => [...collection.keys()].sort().flatMap((id) => get(id) ?? []),
    get,
    async add({ id, kind, credential }) {
      const taken = () => new DeviceError(`there is a device "${id}" already: rotate its secret or remove it`);
      // Another node may have removed the device a moment ago.
      if (collection.get(id) !== undefined) await collection.refresh(id);
      if (collection.get(id) !== undefined) throw taken();
      if (collection.size >= MAX_DEVICES)
        throw new DeviceError(`there are ${MAX_DEVICES} devices already: remove one first`);
      const { secret, proof } = proofOf(validId(id), credential);
      if (!(await put(id, kind, proof, null))) throw taken();
      return secret;
    },
    async set({ id, kind, secret }) {
      if (verify(id, secret)?.kind !== kind) await put(validId(id), kind, proofOf(id, { secret }).proof);
    },
    async rotate(id, credential) {
      const { secret, proof } = proofOf(id, credential);
      await changeDocument(documents, { collection: COLLECTION, key: id }, (stored) => {
        const before = documentSchema.safeParse(stored?.value);
        if (!before.success) throw unknown(id);
        return { value: json({ kind: before.data.kind, proof, changedAt: now() }) };
      });
      await collection.refresh(id);
      return secret;
    },
    async remove(id) {
      const stored = isId(id) ? await documents.get(COLLECTION, id) : undefined;
      if (stored === undefined) throw unknown(id);
      const { data: device } = documentSchema.safeParse(stored.value);
      // The removal is recorded first: after a crash between the two writes, the device still exists and can be removed
      // again. In the opposite order, the id would be unknown and the retained messages would stay.
      if (device !== undefined)
        await documents.put(REMOVALS, id, { kind: device.kind, removedAt: now() } satisfies Removal);
      if (!(await documents.delete(COLLECTION, id))) throw unknown(id);
      await collection.refresh(id);
    },
    verify,
    withCertificate,
    onChange: (listener) => changeListeners.add(listener),
    onAdd: (listener) => addListeners.add(listener),
    stop: () => collection.stop(),
  };
}

const NO_SALT = Buffer.alloc(SALT_BYTES);
const NO_HASH = Buffer.alloc(32);

const hashOf = (secret: string, salt: Buffer): Buffer => createHash("sha256").update(salt).update(secret).digest();

function deviceOf(id: string, { kind, proof, changedAt }: DeviceDocument): Device {
  return { id, kind, certificateName: "certificateName" in proof ? proof.certificateName : undefined, changedAt };
}

const json = ({ kind, proof, changedAt }: DeviceDocument): Json => ({ kind, proof: { ...proof }, changedAt });

/** @throws {DeviceError} */
function validId(id: string): string {
  const problem = idSchema.safeParse(id).error?.issues[0]?.message;
  if (problem !== undefined) throw new DeviceError(`the device id ${problem}, not ${JSON.stringify(id)}`);
  return id;
}

const unknown = (id: string) => new UnknownDeviceError(`there is no device ${JSON.stringify(id)}`);
