import { createHash, randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { ROLES, type Role } from "../../contract/permissions.ts";
import { INTEGRATION_SECRET_PREFIX, type TokenIdentity } from "../../platform/identity.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import { type Powers, roleSchema, storedPowers } from "./accounts.ts";
import { CachedCollection, type StoreOptions } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";
import { permissionsSchema } from "./tokens.ts";

/** Each node keeps all integrations of the deployment in memory. */
export const MAX_INTEGRATIONS = 1_000;
/** How long the previous secret stays valid after a rotation, unless the request says otherwise. */
export const DEFAULT_OVERLAP_SECONDS = 86_400;
const COLLECTION = "integrations";
/** The collection of the times of last use, by integration id. */
const USES = "integration-uses";
const SECRET_BYTES = 32;
/** The shortest interval between two writes of an integration's last use by one node. */
const USE_WRITE_INTERVAL_MS = 60_000;
/** Begins the token id of an identity that a secret proves. */
const TOKEN_ID_PREFIX = "integration-";

export interface Integration {
  id: string;
  role: Role | undefined;
  /** The permissions of the role; without a role, the permissions in the integration's own list. */
  permissions: readonly string[];
  /** The valid secrets, the newest first: two while a rotation overlaps. Times in milliseconds since 1970. */
  secrets: readonly { createdAt: number; expiresAt: number | undefined }[];
}

/**
 * Programs of others, such as Home Assistant, with a secret that lives until it is revoked. After a change resolves, it
 * is durable and in effect on this node; on other nodes, a moment later. Every change may throw
 * {@link StoreUnavailableError}.
 */
export interface Integrations {
  /** Sorted by id. */
  list(): Integration[];
  get(id: string): Integration | undefined;
  /** When a client last authenticated at any node, milliseconds since 1970, by integration id. Exact to a minute. */
  lastUses(): Promise<ReadonlyMap<string, number>>;
  /** @returns the secret, which is not stored @throws {IntegrationError} the id is in use, or there are too many */
  add(id: string, powers: Powers): Promise<string>;
  /** New permissions apply to open connections too. @throws {UnknownIntegrationError} */
  setPowers(id: string, powers: Powers): Promise<void>;
  /**
   * @param overlapSeconds how long the previous secret stays valid; 0 ends it and its connections at once
   * @returns the new secret, which is not stored @throws {UnknownIntegrationError}
   */
  rotate(id: string, overlapSeconds: number): Promise<string>;
  /** Also ends the connections. @throws {UnknownIntegrationError} */
  remove(id: string): Promise<void>;
  /** The identity that the secret proves. Undefined for an unknown or expired secret. Reads from memory. */
  verify(secret: string): TokenIdentity | undefined;
  /**
   * The current permissions of an identity that {@link verify} returned, and when its secret expires.
   * @returns undefined when the secret is gone. One that has expired is not gone: the client continues its MQTT session
   *   with the next one.
   */
  current(
    identity: Pick<TokenIdentity, "userId" | "tokenId">,
  ): Pick<TokenIdentity, "permissions" | "expiresAt"> | undefined;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export class IntegrationError extends Error {
  override name = "IntegrationError";
}

export class UnknownIntegrationError extends IntegrationError {
  override name = "UnknownIntegrationError";
}

const secretSchema = z.object({
  /** SHA-256, base64url. The secret is random, so it needs no slow or salted hash. */
  hash: z.string(),
  createdAt: z.number(),
  expiresAt: z.number().optional(),
});
const documentSchema = z.object({
  role: roleSchema.optional(),
  /** Present when the integration has no role. */
  permissions: permissionsSchema.optional(),
  /** The newest first. */
  secrets: z.array(secretSchema).min(1).max(2),
});
type IntegrationDocument = z.infer<typeof documentSchema>;
type StoredSecret = z.infer<typeof secretSchema>;

interface IntegrationsOptions extends StoreOptions {
  /** The time of issue of a new secret, which no earlier revocation covers: see `Revocations.issueTime`. */
  issueTime: (id: string) => number;
}

/** @throws {StoreUnavailableError} */
export async function openIntegrations(options: IntegrationsOptions): Promise<Integrations> {
  const { documents, logger, now = Date.now, issueTime } = options;
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const uses = new Uses(documents, logger, now);
  /** The id and the secret, by the hash of the secret. */
  let byHash = new Map<string, { id: string; secret: StoredSecret }>();
  const index = () => {
    byHash = new Map();
    for (const [id, { secrets }] of collection.entries())
      for (const secret of secrets) byHash.set(secret.hash, { id, secret });
  };
  // The first listener: later ones may call `verify`.
  collection.onChange(index);
  index();

  const isValid = ({ expiresAt }: StoredSecret) => expiresAt === undefined || expiresAt > now();
  const get = (id: string): Integration | undefined => {
    const document = collection.get(id);
    return document === undefined ? undefined : integrationOf(id, document, isValid);
  };
  const change = async (id: string, decide: (before: IntegrationDocument) => IntegrationDocument) => {
    await changeDocument(documents, { collection: COLLECTION, key: id }, (stored) => {
      const before = documentSchema.safeParse(stored?.value);
      if (!before.success) throw unknown(id);
      return { value: json(decide(before.data)) };
    });
    await collection.refresh(id);
  };
  const created = (id: string) => {
    const secret = INTEGRATION_SECRET_PREFIX + randomBytes(SECRET_BYTES).toString("base64url");
    return { secret, stored: { hash: hashOf(secret), createdAt: issueTime(id) } };
  };

  return {
    list: () => [...collection.keys()].sort().flatMap((id) => get(id) ?? []),
    get,
    lastUses: () => uses.read(),
    async add(id, powers) {
      if (collection.size >= MAX_INTEGRATIONS)
        throw new IntegrationError(`There are ${MAX_INTEGRATIONS} integrations already: remove one first`);
      const { secret, stored } = created(id);
      const document = json({ ...storedPowers(powers), secrets: [stored] });
      if ((await documents.put(COLLECTION, id, document, { ifVersion: null })) === undefined)
        throw new IntegrationError(`There is an integration ${JSON.stringify(id)} already: rotate its secret`);
      await collection.refresh(id);
      return secret;
    },
    setPowers: (id, powers) => change(id, ({ secrets }) => ({ ...storedPowers(powers), secrets })),
    async rotate(id, overlapSeconds) {
      const { secret, stored } = created(id);
      const until = now() + overlapSeconds * 1000;
      await change(id, ({ secrets: [last], ...rest }) => ({
        ...rest,
        secrets: [stored, ...(last === undefined || overlapSeconds === 0 ? [] : [{ ...last, expiresAt: until }])],
      }));
      return secret;
    },
    async remove(id) {
      if (!(await documents.delete(COLLECTION, id))) throw unknown(id);
      await Promise.all([collection.refresh(id), documents.delete(USES, id)]);
    },
    verify(secret) {
      const found = byHash.get(hashOf(secret));
      if (found === undefined || !isValid(found.secret)) return undefined;
      const { id, secret: stored } = found;
      const permissions = get(id)?.permissions ?? [];
      uses.note(id);
      const { createdAt: issuedAt, expiresAt } = stored;
      return { userId: id, permissions, tokenId: tokenIdOf(stored), issuedAt, expiresAt };
    },
    current({ userId, tokenId }) {
      const secret = collection.get(userId)?.secrets.find((stored) => tokenIdOf(stored) === tokenId);
      if (secret === undefined) return undefined;
      return { permissions: get(userId)?.permissions ?? [], expiresAt: secret.expiresAt };
    },
    onChange: (listener) => collection.onChange(() => listener()),
    stop: () => collection.stop(),
  };
}

/** Whether a secret proved the identity that has this token id. */
export const isOfIntegration = (tokenId: string | undefined): boolean => tokenId?.startsWith(TOKEN_ID_PREFIX) ?? false;

/** The times of last use. Each node writes the time of an integration at most once a minute. */
class Uses {
  readonly #documents: Documents;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #written = new Map<string, number>();

  constructor(documents: Documents, logger: Logger, now: () => number) {
    this.#documents = documents;
    this.#logger = logger;
    this.#now = now;
  }

  note(id: string): void {
    const now = this.#now();
    if (now - (this.#written.get(id) ?? Number.NEGATIVE_INFINITY) < USE_WRITE_INTERVAL_MS) return;
    this.#written.set(id, now);
    this.#documents.put(USES, id, { usedAt: now }).catch((err: unknown) => {
      this.#written.delete(id);
      this.#logger.debug({ err, integration: id }, "last use of an integration not stored");
    });
  }

  async read(): Promise<ReadonlyMap<string, number>> {
    const stored = await this.#documents.list(USES);
    return new Map(
      stored.flatMap(({ key, value }) => {
        const read = useSchema.safeParse(value);
        return read.success ? [[key, read.data.usedAt] as const] : [];
      }),
    );
  }
}

const useSchema = z.object({ usedAt: z.number() });

const hashOf = (secret: string): string => createHash("sha256").update(secret).digest("base64url");

/** Part of the hash: not secret, and different for each secret. */
const tokenIdOf = ({ hash }: StoredSecret): string => TOKEN_ID_PREFIX + hash.slice(0, 16);

function integrationOf(
  id: string,
  { role, permissions = [], secrets }: IntegrationDocument,
  isValid: (secret: StoredSecret) => boolean,
): Integration {
  return {
    ...{ id, role, permissions: role === undefined ? permissions : ROLES[role] },
    secrets: secrets.filter(isValid).map(({ createdAt, expiresAt }) => ({ createdAt, expiresAt })),
  };
}

/** JSON cannot express undefined properties. */
function json({ role, permissions, secrets }: IntegrationDocument): Json {
  return {
    ...(role === undefined ? {} : { role }),
    ...(permissions === undefined ? {} : { permissions }),
    secrets: secrets.map(({ expiresAt, ...rest }) => ({ ...rest, ...(expiresAt === undefined ? {} : { expiresAt }) })),
  };
}

const unknown = (id: string) => new UnknownIntegrationError(`There is no integration ${JSON.stringify(id)}`);
