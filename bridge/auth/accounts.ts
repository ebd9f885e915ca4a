import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { ROLES, type Role } from "../../contract/permissions.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import { CachedCollection } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";
import { Passwords, passwordHashSchema } from "./passwords.ts";
import { permissionsSchema } from "./tokens.ts";

/** The most accounts in one deployment: each node keeps all of them in memory. */
const MAX_ACCOUNTS = 10_000;
const COLLECTION = "users";
/** Length of a generation, bytes. Each session id begins with the generation in hexadecimal: see `SESSION_ID`. */
const GENERATION_BYTES = 6;

export const roleSchema = z.enum(["viewer", "admin"] satisfies readonly Role[]);

/** A user with a password, and what the user may do. */
export interface Account {
  userId: string;
  /** Undefined for an account with a list of permissions instead of a role. */
  role: Role | undefined;
  /** The permissions of the role, or the listed ones. */
  permissions: readonly string[];
  enabled: boolean;
  /**
   * A random number in hexadecimal. A new generation ends all sessions of the account: a session id begins with the
   * generation of its login. Comparing generations needs no clock, so this works on every node.
   */
  generation: string;
  /** Milliseconds since 1970. */
  changedAt: number;
}

/** The rights of an account: everything that its role allows, or the listed permissions. */
export type Powers = { role: Role } | { permissions: readonly string[] };

export interface AccountChange {
  password?: string | undefined;
  powers?: Powers | undefined;
  enabled?: boolean | undefined;
}

/**
 * The accounts of operators. Once a change resolves, it is durable and in effect on this node. The other nodes follow a
 * moment later.
 */
export interface Accounts {
  /** Reads from memory, so it works while the store is unavailable. */
  get(userId: string): Account | undefined;
  /** All accounts, sorted by user id. */
  list(): Account[];
  /**
   * Checks a password. An unknown user id takes the same time as a known one, so the time does not reveal which
   * accounts exist.
   * @returns undefined when the account is unknown or disabled, or the password is wrong
   * @throws {TooManyHashesError}
   */
  verify(userId: string, password: string): Promise<Account | undefined>;
  /** @throws {AccountExistsError} @throws {TooManyAccountsError} @throws {StoreUnavailableError} */
  create(account: { userId: string; password: string; powers: Powers }): Promise<Account>;
  /**
   * Changes an account. A new password ends all sessions of the account, and so does disabling the account. New powers
   * apply to open sessions.
   * @throws {UnknownAccountError} @throws {StoreUnavailableError}
   */
  update(userId: string, change: AccountChange): Promise<Account>;
  /** @throws {UnknownAccountError} @throws {StoreUnavailableError} */
  remove(userId: string): Promise<void>;
  onChange(listener: () => void): () => void;
  stop(): void;
}

export interface AccountsOptions {
  documents: Documents;
  logger: Logger;
  /** The current time, milliseconds since 1970. Default: the system clock. */
  now?: () => number;
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

const documentSchema = passwordHashSchema.extend({
  role: roleSchema.optional(),
  /** Present when the account has no role. */
  permissions: permissionsSchema.optional(),
  enabled: z.boolean(),
  generation: z.string().regex(/^[0-9a-f]{12}$/),
  changedAt: z.number(),
});
type AccountDocument = z.infer<typeof documentSchema>;

/** @throws {StoreUnavailableError} the accounts cannot be read */
export async function openAccounts({ documents, logger, now = Date.now }: AccountsOptions): Promise<Accounts> {
  const collection = await CachedCollection.open({ documents, collection: COLLECTION, schema: documentSchema, logger });
  const passwords = new Passwords();

  async function refreshed(userId: string): Promise<Account> {
    await collection.refresh(userId);
    const document = collection.get(userId);
    if (document === undefined) throw unknown(userId);
    return accountOf(userId, document);
  }

  return {
    get(userId) {
      const document = collection.get(userId);
      return document === undefined ? undefined : accountOf(userId, document);
    },
    list: () =>
      [...collection.entries()]
        .map(([userId, document]) => accountOf(userId, document))
        .sort((a, b) => (a.userId < b.userId ? -1 : 1)),
    async verify(userId, password) {
      const document = collection.get(userId);
      const matches = await passwords.matches(password, document);
      // The account may have changed during the hash. Every use of the new session compares the generation.
      return matches && document?.enabled ? accountOf(userId, document) : undefined;
    },
    async create({ userId, password, powers }) {
      if (collection.size >= MAX_ACCOUNTS)
        throw new TooManyAccountsError(`There are ${MAX_ACCOUNTS} accounts already: remove one first`);
      const taken = () => new AccountExistsError(`There is an account ${JSON.stringify(userId)} already`);
      if (collection.get(userId) !== undefined) throw taken();
      const document: AccountDocument = {
        ...(await passwords.hash(password)),
        ...storedPowers(powers),
        ...{ enabled: true, generation: newGeneration(), changedAt: now() },
      };
      const version = await documents.put(COLLECTION, userId, json(document), { ifVersion: null });
      if (version === undefined) throw taken();
      return await refreshed(userId);
    },
    async update(userId, { password, powers, enabled }) {
      if (collection.get(userId) === undefined) throw unknown(userId);
      const hash = password === undefined ? undefined : await passwords.hash(password);
      await changeDocument(documents, { collection: COLLECTION, key: userId }, (stored) => {
        const read = documentSchema.safeParse(stored?.value);
        if (!read.success) throw unknown(userId);
        const { role, permissions, ...before } = read.data;
        const endsSessions = hash !== undefined || enabled === false;
        const after: AccountDocument = {
          ...{ ...before, ...hash, changedAt: now() },
          ...(powers === undefined ? { role, permissions } : storedPowers(powers)),
          enabled: enabled ?? before.enabled,
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
    stop: () => collection.stop(),
  };
}

function accountOf(
  userId: string,
  { role, permissions = [], enabled, generation, changedAt }: AccountDocument,
): Account {
  return { userId, role, permissions: role === undefined ? permissions : ROLES[role], enabled, generation, changedAt };
}

function storedPowers(powers: Powers): { role: Role } | { permissions: string[] } {
  return "role" in powers ? { role: powers.role } : { permissions: [...powers.permissions] };
}

/** Leaves out undefined properties: JSON cannot express them. */
function json({ scrypt, role, permissions, ...rest }: AccountDocument): Json {
  return {
    ...rest,
    scrypt: { ...scrypt },
    ...(role === undefined ? {} : { role }),
    ...(permissions === undefined ? {} : { permissions }),
  };
}

function newGeneration(): string {
  return randomBytes(GENERATION_BYTES).toString("hex");
}

function unknown(userId: string): UnknownAccountError {
  return new UnknownAccountError(`There is no account ${JSON.stringify(userId)}`);
}
