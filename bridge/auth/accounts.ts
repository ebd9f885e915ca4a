import { randomBytes } from "node:crypto";
import { z } from "zod";
import { idSchema } from "../../contract/ids.ts";
import { CAMERAS_LIMITED, ROLES, type Role } from "../../contract/permissions.ts";
import type { Json } from "../cluster/cluster.ts";
import { CachedCollection, type StoreOptions } from "./cached-collection.ts";
import type { CameraGroups } from "./camera-groups.ts";
import { changeDocument } from "./change-document.ts";
import { Passwords, passwordHashSchema } from "./passwords.ts";
import { permissionsSchema } from "./tokens.ts";

/** Each node keeps all accounts of the deployment in memory. */
const MAX_ACCOUNTS = 10_000;
const COLLECTION = "users";
/** Length of {@link Account.generation}, which begins each session id: see `SESSION_ID`. */
const GENERATION_BYTES = 6;

export const roleSchema = z.enum(["viewer", "admin"] satisfies readonly Role[]);

export interface Account {
  userId: string;
  /** The name that the identity provider gives. Undefined for an account with a password. */
  name: string | undefined;
  role: Role | undefined;
  /** The permissions of the role; without a role, the permissions in the account's own list. */
  granted: readonly string[];
  /** What the user may do now: {@link granted}, limited to the cameras that {@link cameraGroups} contain now. */
  permissions: readonly string[];
  /** The ids of the camera groups that the account is limited to. Undefined: the account is not limited. */
  cameraGroups: readonly string[] | undefined;
  enabled: boolean;
  /**
   * In hexadecimal. A session id begins with the generation that the account had at the login, so a new generation ends
   * all sessions. Unlike times, generations can be compared on nodes whose clocks differ.
   */
  generation: string;
  /** Milliseconds since 1970. */
  changedAt: number;
}

export type Powers = { role: Role } | { permissions: readonly string[] };

/** A user of the identity provider. */
export interface ProvidedUser {
  userId: string;
  name: string | undefined;
  powers: Powers;
}

export interface AccountChange {
  password?: string | undefined;
  powers?: Powers | undefined;
  /** Null removes the limit. */
  cameraGroups?: readonly string[] | null | undefined;
  enabled?: boolean | undefined;
}

/** After a change resolves, it is durable and in effect on this node; on other nodes, a moment later. */
export interface Accounts {
  /** Reads from memory, so the method works while the store is unavailable. */
  get(userId: string): Account | undefined;
  /**
   * Reads an account again, because another node may have changed it a moment ago. Resolves when memory is at least as
   * recent as this call.
   * @param userId default: all accounts are read @throws {StoreUnavailableError}
   */
  refresh(userId?: string): Promise<void>;
  /** Sorted by user id. */
  list(): Account[];
  /**
   * Takes the same time for an unknown user id, so the time does not reveal which accounts exist.
   * @returns undefined when the account is unknown or disabled, or the password is wrong
   * @throws {TooManyHashesError}
   */
  verify(userId: string, password: string): Promise<Account | undefined>;
  /** @throws {AccountExistsError} @throws {TooManyAccountsError} @throws {StoreUnavailableError} */
  create(account: {
    userId: string;
    password: string;
    powers: Powers;
    cameraGroups?: readonly string[] | undefined;
  }): Promise<Account>;
  /**
   * Keeps what the identity provider says about a user who signs in. A disabled account stays disabled, and a limited
   * one limited.
   * @throws {TooManyAccountsError} @throws {StoreUnavailableError}
   */
  keepProvided(user: ProvidedUser): Promise<Account>;
  /**
   * A new password or disabling the account ends its sessions. New permissions apply to open sessions too.
   * @throws {UnknownAccountError} @throws {StoreUnavailableError}
   */
  update(userId: string, change: AccountChange): Promise<Account>;
  /** @throws {UnknownAccountError} @throws {StoreUnavailableError} */
  remove(userId: string): Promise<void>;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export class AccountExistsError extends Error {
  override name = "AccountExistsError";
}

export class UnknownAccountError extends Error {
  override name = "UnknownAccountError";
}

export class TooManyAccountsError extends Error {
  override name = "TooManyAccountsError";
}

/** An account without a password belongs to a user of the identity provider. */
const documentSchema = passwordHashSchema.partial().extend({
  name: z.string().optional(),
  role: roleSchema.optional(),
  /** Present when the account has no role. */
  permissions: permissionsSchema.optional(),
  cameraGroups: z.array(idSchema).optional(),
  enabled: z.boolean(),
  generation: z.string().regex(/^[0-9a-f]{12}$/),
  changedAt: z.number(),
});
type AccountDocument = z.infer<typeof documentSchema>;

interface AccountsOptions extends StoreOptions {
  groups: Pick<CameraGroups, "get" | "onChange">;
}

/** @throws {StoreUnavailableError} */
export async function openAccounts({ documents, groups, logger, now = Date.now }: AccountsOptions): Promise<Accounts> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const passwords = new Passwords();
  /** The permissions of limited accounts with the present groups. A review of a thousand connections needs each often. */
  let limited = new WeakMap<AccountDocument, readonly string[]>();
  const unsubscribe = groups.onChange(() => {
    limited = new WeakMap();
  });

  function limitedPermissions(document: AccountDocument, granted: readonly string[]): readonly string[] {
    if (document.cameraGroups === undefined) return granted;
    const known = limited.get(document);
    if (known !== undefined) return known;
    const cameras = new Set(document.cameraGroups.flatMap((id) => groups.get(id)?.cameras ?? []));
    const result = limitedTo(cameras, granted);
    limited.set(document, result);
    return result;
  }

  function accountOf(userId: string, document: AccountDocument): Account {
    const { name, role, permissions = [], cameraGroups, enabled, generation, changedAt } = document;
    const granted = role === undefined ? permissions : ROLES[role];
    return {
      ...{ userId, name, role, granted, permissions: limitedPermissions(document, granted), cameraGroups },
      ...{ enabled, generation, changedAt },
    };
  }

  function get(userId: string): Account | undefined {
    const document = collection.get(userId);
    return document === undefined ? undefined : accountOf(userId, document);
  }

  /** @throws {TooManyHashesError} */
  async function verified(userId: string, document: AccountDocument | undefined, password: string) {
    const matches = await passwords.matches(password, passwordHashSchema.safeParse(document).data);
    // If the account changed while the hash was computed, the new session has the old generation and is refused.
    return matches && document?.enabled ? accountOf(userId, document) : undefined;
  }

  /** @throws {TooManyAccountsError} */
  function assertRoom(): void {
    if (collection.size >= MAX_ACCOUNTS)
      throw new TooManyAccountsError(`There are ${MAX_ACCOUNTS} accounts already: remove one first`);
  }

  async function refreshed(userId: string): Promise<Account> {
    await collection.refresh(userId);
    const account = get(userId);
    if (account === undefined) throw unknown(userId);
    return account;
  }

  return {
    get,
    refresh: (userId) => collection.refresh(userId),
    list: () => [...collection.keys()].sort().flatMap((userId) => get(userId) ?? []),
    async verify(userId, password) {
      const document = collection.get(userId);
      const account = await verified(userId, document, password);
      if (account !== undefined) return account;
      // Another node may have made the account or changed the password a moment ago.
      await collection.refresh(userId).catch(() => undefined);
      const current = collection.get(userId);
      return current === document ? undefined : await verified(userId, current, password);
    },
    async create({ userId, password, powers, cameraGroups }) {
      assertRoom();
      const taken = () => new AccountExistsError(`There is an account ${JSON.stringify(userId)} already`);
      // Another node may have removed the account a moment ago.
      if (get(userId) !== undefined) await collection.refresh(userId);
      if (get(userId) !== undefined) throw taken();
      const document: AccountDocument = {
        ...(await passwords.hash(password)),
        ...storedPowers(powers),
        ...(cameraGroups === undefined ? {} : { cameraGroups: [...cameraGroups] }),
        ...{ enabled: true, generation: newGeneration(), changedAt: now() },
      };
      if ((await documents.put(COLLECTION, userId, json(document), { ifVersion: null })) === undefined) throw taken();
      return await refreshed(userId);
    },
    async keepProvided({ userId, name, powers }) {
      if (collection.get(userId) === undefined) assertRoom();
      await changeDocument(documents, { collection: COLLECTION, key: userId }, (stored) => {
        const before = documentSchema.safeParse(stored?.value).data;
        const { enabled = true, generation = newGeneration(), cameraGroups } = before ?? {};
        const kept = { enabled, generation, cameraGroups, changedAt: now() };
        return { value: json({ ...storedPowers(powers), name, ...kept }) };
      });
      return await refreshed(userId);
    },
    async update(userId, { password, powers, cameraGroups, enabled }) {
      if (get(userId) === undefined) throw unknown(userId);
      const hash = password === undefined ? undefined : await passwords.hash(password);
      await changeDocument(documents, { collection: COLLECTION, key: userId }, (stored) => {
        const read = documentSchema.safeParse(stored?.value);
        if (!read.success) throw unknown(userId);
        const { role, permissions, cameraGroups: groupsBefore, ...before } = read.data;
        const endsSessions = hash !== undefined || enabled === false;
        const after: AccountDocument = {
          ...{ ...before, ...hash, changedAt: now(), enabled: enabled ?? before.enabled },
          ...(powers === undefined ? { role, permissions } : storedPowers(powers)),
          cameraGroups:
            cameraGroups === undefined ? groupsBefore : cameraGroups === null ? undefined : [...cameraGroups],
          generation: endsSessions ? newGeneration() : before.generation,
        };
        return { value: json(after) };
      });
      return await refreshed(userId);
    },
    async remove(userId) {
      if (!(await documents.delete(COLLECTION, userId))) throw unknown(userId);
      await collection.refresh(userId);
    },
    onChange: (listener) => collection.onChange(() => listener()),
    stop() {
      unsubscribe();
      collection.stop();
    },
  };
}

/**
 * The permissions for some cameras only. `camera:read` and `camera:control` become permissions for each of the cameras.
 * So does the right of `dashboard:read` to see cameras. `admin` is dropped: it cannot be limited.
 */
function limitedTo(cameras: ReadonlySet<string>, permissions: readonly string[]): string[] {
  const held = new Set(permissions);
  const each = [
    ...(held.has("camera:read") || held.has("dashboard:read") ? ["read"] : []),
    ...(held.has("camera:control") ? ["control"] : []),
  ];
  for (const unlimited of ["admin", "camera:read", "camera:control"]) held.delete(unlimited);
  for (const camera of cameras) for (const right of each) held.add(`camera:${camera}:${right}`);
  return [CAMERAS_LIMITED, ...held];
}

/**
 * The permissions to write into a token of the account. The tokens of a limited account name no cameras: 500 cameras
 * exceed the longest token. The server reads the cameras from the account whenever it verifies the token.
 */
export function permissionsInToken({ permissions, cameraGroups }: Account): readonly string[] {
  return cameraGroups === undefined ? permissions : permissions.filter((held) => !held.startsWith("camera:"));
}

/** As {@link Powers} are stored. */
export function storedPowers(powers: Powers): { role: Role } | { permissions: string[] } {
  return "role" in powers ? { role: powers.role } : { permissions: [...powers.permissions] };
}

/** JSON cannot express undefined properties. */
function json({ scrypt, ...rest }: AccountDocument): Json {
  const given = Object.entries(rest).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
  return { ...Object.fromEntries(given), ...(scrypt === undefined ? {} : { scrypt: { ...scrypt } }) };
}

const newGeneration = () => randomBytes(GENERATION_BYTES).toString("hex");

const unknown = (userId: string) => new UnknownAccountError(`There is no account ${JSON.stringify(userId)}`);
