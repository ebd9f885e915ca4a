import { randomInt } from "node:crypto";
import { z } from "zod";
import { sameSecret } from "../../platform/same-secret.ts";
import type { Documents } from "../cluster/cluster.ts";
import type { Accounts } from "./accounts.ts";

const COLLECTION = "setup";
const KEY = "code";
/** Without letters and digits that look alike. */
const ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ";
/** 12 of 30 characters are 58 bits, and the guesses are limited. */
const GROUPS = 3;
const GROUP_CHARS = 4;

/** How long a request may take that adds the admin. After this, the code is accepted again: the node may have died. */
const REDEEM_MS = 30_000;

const documentSchema = z.object({
  code: z.string(),
  /** A request has used the code, and adds the admin until then. Milliseconds since 1970. */
  takenUntil: z.number().optional(),
});

/** Another request with the right code adds the first admin now. */
export class SetupCodeTakenError extends Error {
  override name = "SetupCodeTakenError";
}

/**
 * The code that proves access to the server's machine when the first admin is added: the lines of the start show it. The
 * code is in the store, as the accounts are, so all nodes have the same one. After its use there is another one.
 */
export interface SetupCode {
  /** Whether no account is an admin, so that the code is accepted. A disabled admin counts as an admin. */
  readonly isNeeded: boolean;
  /** The code; undefined when it is not needed. @throws {StoreUnavailableError} */
  current(): Promise<string | undefined>;
  /**
   * Takes the code, so that of two requests with the right code, at any nodes, one succeeds. If the node dies before
   * {@link discard}, the code is valid again after {@link REDEEM_MS}.
   * @returns undefined for a wrong or used code; otherwise a function that makes the code valid again, for an admin who
   * could not be added
   * @throws {SetupCodeTakenError} @throws {StoreUnavailableError}
   */
  redeem(code: string): Promise<(() => Promise<void>) | undefined>;
  /** The next use needs another code. @throws {StoreUnavailableError} */
  discard(): Promise<void>;
}

interface SetupCodeOptions {
  documents: Pick<Documents, "get" | "put" | "delete">;
  accounts: Pick<Accounts, "list">;
  /** The clock that all nodes share, milliseconds since 1970. */
  now: () => number;
}

export function createSetupCode({ documents, accounts, now }: SetupCodeOptions): SetupCode {
  const isNeeded = () => accounts.list().every(({ permissions }) => !permissions.includes("admin"));
  const stored = async () => {
    const found = await documents.get(COLLECTION, KEY);
    const read = documentSchema.safeParse(found?.value).data;
    return found === undefined || read === undefined ? undefined : { ...read, version: found.version };
  };

  async function current() {
    if (!isNeeded()) {
      // The node that added the admin may have died before it discarded the code.
      await documents.delete(COLLECTION, KEY);
      return undefined;
    }
    const found = await stored();
    if (found !== undefined) return found;
    await documents.put(COLLECTION, KEY, { code: newCode() }, { ifVersion: null });
    // Another node may have been faster.
    return await stored();
  }

  return {
    get isNeeded() {
      return isNeeded();
    },
    current: async () => (await current())?.code,
    async redeem(given) {
      const found = isNeeded() ? await stored() : undefined;
      if (found === undefined || !sameSecret(normalCode(given), normalCode(found.code))) return undefined;
      const { code, version, takenUntil = 0 } = found;
      const taken = { code, takenUntil: now() + REDEEM_MS };
      const ifVersion =
        takenUntil > now() ? undefined : await documents.put(COLLECTION, KEY, taken, { ifVersion: version });
      if (ifVersion === undefined)
        throw new SetupCodeTakenError("Another request with this code adds the first admin now");
      return async () => void (await documents.put(COLLECTION, KEY, { code }, { ifVersion }));
    },
    async discard() {
      await documents.delete(COLLECTION, KEY);
    },
  };
}

/** The code as people type it: small letters and missing hyphens do not matter. */
function normalCode(text: string): string {
  return text.toUpperCase().replaceAll(/[^0-9A-Z]/g, "");
}

function newCode(): string {
  const group = () => Array.from({ length: GROUP_CHARS }, () => ALPHABET[randomInt(ALPHABET.length)]).join("");
  return Array.from({ length: GROUPS }, group).join("-");
}
