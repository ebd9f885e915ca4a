import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { idSchema } from "../../contract/ids.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import { CachedCollection } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";

/** Devices of one deployment: each node has them all in memory. Twice the default of `MAX_CAMERAS`. */
export const MAX_DEVICES = 20_000;
/** The shortest secret that is taken; 32 characters of base64 are 192 bits. */
export const MIN_DEVICE_SECRET_LENGTH = 32;
export const MAX_DEVICE_SECRET_LENGTH = 256;
/** What is made when no secret is given: 256 bits, as 43 characters. */
const SECRET_BYTES = 32;
const SALT_BYTES = 16;
const COLLECTION = "devices";
/** The collection of {@link Removal}s, by id: what is retained of these devices is to be cleared. */
export const REMOVALS = "removed-devices";

export const deviceKindSchema = z.enum(["camera", "processing"]);
export type DeviceKind = z.infer<typeof deviceKindSchema>;

/** A device was removed, or is about to be. */
export const removalSchema = z.object({
  kind: deviceKindSchema,
  /** Milliseconds since 1970. */
  removedAt: z.number(),
});
export type Removal = z.infer<typeof removalSchema>;

export const deviceSecretSchema = z
  .string()
  .min(MIN_DEVICE_SECRET_LENGTH, `must have at least ${MIN_DEVICE_SECRET_LENGTH} characters`)
  .max(MAX_DEVICE_SECRET_LENGTH, `must have at most ${MAX_DEVICE_SECRET_LENGTH} characters`);

/** A common name, as RFC 5280 (ub-common-name) bounds it; visible, so that it can be read in a log. */
export const certificateNameSchema = z.string().regex(/^[ -~]{1,64}$/, "must be 1 to 64 of visible ASCII");

/** A camera or processing service that may connect. Both kinds share one space of ids, for the id is the user name. */
export interface Device {
  id: string;
  kind: DeviceKind;
  /** The common name of the certificate it signs in by; undefined for one with a secret. */
  certificateName: string | undefined;
  /** Since when what it signs in by is good, milliseconds since 1970. */
  changedAt: number;
}

/** What a device signs in by: a secret, made when none is given; what proves one; or a certificate of that name. */
export type Credential = { secret?: string | undefined } | { salt: string; hash: string } | { certificateName: string };

/** The devices. What changes them is durable, and known here, when it resolves; at other nodes a moment later. */
export interface DeviceStore {
  /** By id. */
  list(): Device[];
  get(id: string): Device | undefined;
  /**
   * @returns the secret, which is not kept anywhere; undefined when there is none, or it is not known
   * @throws {DeviceError} the id or the certificate's name is taken, or there are too many
   * @throws {StoreUnavailableError} as do all that change something
   */
  add(device: { id: string; kind: DeviceKind; credential: Credential }): Promise<string | undefined>;
  /** Adds the device, or gives it this kind and secret; does nothing when it has them. */
  set(device: { id: string; kind: DeviceKind; secret: string }): Promise<void>;
  /** Replaces what it signs in by; its connections end. @returns as {@link add} @throws {UnknownDeviceError} */
  rotate(id: string, credential: Credential): Promise<string | undefined>;
  /** Its connections end, and what is retained of it is cleared. @throws {UnknownDeviceError} */
  remove(id: string): Promise<void>;
  /** The device, when the secret is its own. From memory: right away, and without the store. */
  verify(id: string, secret: string): Device | undefined;
  withCertificate(name: string): Device | undefined;
  /** Called with the id of a device that is gone, or signs in by something else now, whichever node changed it. */
  onChange(listener: (id: string) => void): () => void;
  /** Called with a device that is new, whichever node added it. */
  onAdd(listener: (device: Pick<Device, "id" | "kind">) => void): () => void;
  stop(): void;
}

/** Something is wrong with what was asked of the devices; the message says what. */
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

export interface DevicesOptions {
  documents: Documents;
  logger: Logger;
  /** Milliseconds since 1970. Default: the clock. */
  now?: () => number;
}

/**
 * A secret is hashed by one salted SHA-256, not by scrypt or argon2: those make guessing of passwords that people choose
 * slow, but 192 random bits cannot be guessed at any speed, and a hundred cameras that come back together after a power
 * cut would wait for seconds of a slow hash.
 *
 * @throws {StoreUnavailableError} the devices cannot be read
 */
export async function openDevices({ documents, logger, now = Date.now }: DevicesOptions): Promise<DeviceStore> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const listeners = new Set<(id: string) => void>();
  const addListeners = new Set<(device: Pick<Device, "id" | "kind">) => void>();
  const proofs = new Map<string, string>();

  const look = (id: string) => {
    const document = collection.get(id);
    const proof = document === undefined ? undefined : JSON.stringify([document.kind, document.proof]);
    const before = proofs.get(id);
    if (proof === undefined) proofs.delete(id);
    else proofs.set(id, proof);
    if (before === undefined && document !== undefined)
      for (const listener of addListeners) listener({ id, kind: document.kind });
    if (before === undefined || before === proof) return;
    for (const listener of listeners) listener(id);
  };
  const lookAtAll = () => {
    for (const id of new Set([...proofs.keys(), ...collection.keys()])) look(id);
  };
  collection.onChange((ids) => (ids === undefined ? lookAtAll() : ids.forEach(look)));
  lookAtAll();

  function withCertificate(name: string): Device | undefined {
    const named = [...collection.entries()].filter(
      ([, { proof }]) => "certificateName" in proof && proof.certificateName === name,
    );
    // Two nodes may have given one name away at the same moment: then it names nobody.
    const [one] = named;
    return one === undefined || named.length > 1 ? undefined : deviceOf(...one);
  }

  /** @throws {DeviceError} */
  function proofOf(id: string, credential: Credential): { secret: string | undefined; proof: Proof } {
    if ("certificateName" in credential) {
      const { certificateName } = credential;
      const owner = withCertificate(certificateName);
      if (owner !== undefined && owner.id !== id)
        throw new DeviceError(`the certificate ${JSON.stringify(certificateName)} is that of "${owner.id}" already`);
      return { secret: undefined, proof: { certificateName } };
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
    // A device that is not there costs the same time as one that is.
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
    list: () =>
      [...collection.entries()].map(([id, document]) => deviceOf(id, document)).sort((a, b) => (a.id < b.id ? -1 : 1)),
    get(id) {
      const document = collection.get(id);
      return document === undefined ? undefined : deviceOf(id, document);
    },
    async add({ id, kind, credential }) {
      const taken = () => new DeviceError(`there is a device "${id}" already: rotate its secret or remove it`);
      if (collection.get(id) !== undefined) throw taken();
      if (collection.size >= MAX_DEVICES)
        throw new DeviceError(`there are ${MAX_DEVICES} devices already: remove one first`);
      const { secret, proof } = proofOf(idOf(id), credential);
      if (!(await put(id, kind, proof, null))) throw taken();
      return secret;
    },
    async set({ id, kind, secret }) {
      if (verify(id, secret)?.kind !== kind) await put(idOf(id), kind, proofOf(id, { secret }).proof);
    },
    async rotate(id, credential) {
      if (collection.get(id) === undefined) throw unknown(id);
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
      const stored = isKnowable(id) ? await documents.get(COLLECTION, id) : undefined;
      if (stored === undefined) throw unknown(id);
      const { data: known } = documentSchema.safeParse(stored.value);
      // First: after a crash in between it can be removed once more, and would be unknown if it were gone already.
      if (known !== undefined)
        await documents.put(REMOVALS, id, { kind: known.kind, removedAt: now() } satisfies Removal);
      if (!(await documents.delete(COLLECTION, id))) throw unknown(id);
      await collection.refresh(id);
    },
    verify,
    withCertificate,
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onAdd(listener) {
      addListeners.add(listener);
      return () => addListeners.delete(listener);
    },
    stop() {
      collection.stop();
      addListeners.clear();
      listeners.clear();
    },
  };
}

const NO_SALT = Buffer.alloc(SALT_BYTES);
const NO_HASH = Buffer.alloc(32);

function hashOf(secret: string, salt: Buffer): Buffer {
  return createHash("sha256").update(salt).update(secret).digest();
}

function deviceOf(id: string, { kind, proof, changedAt }: DeviceDocument): Device {
  return { id, kind, certificateName: "certificateName" in proof ? proof.certificateName : undefined, changedAt };
}

function json({ kind, proof, changedAt }: DeviceDocument): Json {
  return { kind, proof: { ...proof }, changedAt };
}

function isKnowable(id: string): boolean {
  return idSchema.safeParse(id).success;
}

/** @throws {DeviceError} */
function idOf(id: string): string {
  const problem = idSchema.safeParse(id).error?.issues[0]?.message;
  if (problem !== undefined) throw new DeviceError(`the device id ${problem}, not ${JSON.stringify(id)}`);
  return id;
}

function unknown(id: string): UnknownDeviceError {
  return new UnknownDeviceError(`there is no device ${JSON.stringify(id)}`);
}
