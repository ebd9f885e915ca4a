import { randomBytes } from "node:crypto";
import type { Logger } from "pino";
import { z } from "zod";
import { ROLES, type Role } from "../../contract/permissions.ts";
import type { Documents, Json } from "../cluster/cluster.ts";
import { CachedCollection } from "./cached-collection.ts";
import { changeDocument } from "./change-document.ts";
import { Passwords, passwordHashSchema } from "./passwords.ts";
import { permissionsSchema } from "./tokens.ts";

/** Accounts of one deployment: each node has them all in memory. */
export const MAX_ACCOUNTS = 10_000;
const COLLECTION = "users";
/** Bytes of a generation; as hex it begins each session's id, see `SESSION_ID`. */
const GENERATION_BYTES = 6;

export const roleSchema = z.enum(["viewer", "admin"] satisfies readonly Role[]);

/** Who has an account, and what he may do. */
export interface Account {
  userId: string;
  /** Undefined for one whose permissions are listed. */
  role: Role | undefined;
  /** Those of the role, or those listed. */
  permissions: readonly string[];
  enabled: boolean;
  /**
   * Random, and another whenever all sessions of the account are to end. A session's id begins with it, so whether a
   * session is of today's account needs no clock, on whichever node it was opened.
   */
  generation: string;
  /** Milliseconds since 1970. */
  changedAt: number;
}

export type Powers = { role: Role } | { permissions: readonly string[] };

export interface AccountChange {
  password?: string | undefined;
  powers?: Powers | undefined;
  enabled?: boolean | undefined;
}

/** The accounts of operators. What changes them is durable, and known here, when it resolves; elsewhere a moment later. */
export interface Accounts {
  /** As known in memory: right away, and without the store. */
  get(userId: string): Account | undefined;
  /** By user id. */
  list(): Account[];
  /**
   * Takes as long for somebody who has no account.
   * @returns undefined when there is no such account, it is disabled, or the password is another
   * @throws {TooManyHashesError}
   */
  verify(userId: string, password: string): Promise<Account | undefined>;
  /** @throws {AccountExistsError} @throws {TooManyAccountsError} @throws {StoreUnavailableError} */
  create(account: { userId: string; password: string; powers: Powers }): Promise<Account>;
  /**
   * A new password, or being disabled, ends all sessions of the account; other powers hold for those that are open.
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
  /** Milliseconds since 1970. Default: the clock. */
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
  /** Of an account without a role. */
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

  async function known(userId: string): Promise<Account> {
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
      // What has become of it meanwhile shows in its generation, which every use of the session looks at.
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
      return await known(userId);
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
      return await known(userId);
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

/** Without what is undefined: JSON has no word for it. */
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
