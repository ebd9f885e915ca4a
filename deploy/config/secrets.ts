import { createHash, randomBytes } from "node:crypto";
import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { reasonOf } from "../../platform/error-reason.ts";
import { messageOf } from "../../platform/errors.ts";
import { jsonOf } from "../../platform/json.ts";

/** 48 bits are enough to detect damage. */
const CHECK_CHARACTERS = 8;

/** Secrets that {@link rotateSecrets} can replace. */
export const SECRET_NAMES = ["jwt-secret", "operator-key", "simulator"] as const;
export type SecretName = (typeof SECRET_NAMES)[number];

const secretsSchema = z.object({
  /** May have several lines, as `JWT_SECRET` may: the first line signs tokens, and all lines verify tokens. */
  jwtSecret: z.string().min(32),
  operatorKey: z.string().min(32),
  /** Secrets of the simulated devices, by id. */
  simulator: z.record(z.string(), z.string()),
});

export type Secrets = z.infer<typeof secretsSchema>;

/** Files of earlier versions have no `check`. */
const checkSchema = z.object({ check: z.string().optional() });

/** `DATA_PATH` is unusable. The message says why and what to do. */
export class DataPathError extends Error {
  override name = "DataPathError";
}

/**
 * Reads the secrets in `DATA_PATH` and generates missing secrets: 256 random bits each, readable by this user only. The
 * file keeps tokens and devices valid after a restart, without any configuration.
 * @param deviceIds the simulated devices
 * @throws {DataPathError}
 */
export function loadSecrets(dataPath: string, deviceIds: readonly string[]): Secrets {
  const file = secretsFile(dataPath);
  try {
    mkdirSync(dataPath, { recursive: true, mode: 0o700 });
    const known = readSecrets(file);
    const simulator = { ...known?.simulator };
    for (const id of deviceIds) simulator[id] ??= randomSecret();
    const secrets: Secrets = {
      jwtSecret: known?.jwtSecret ?? randomSecret(),
      operatorKey: known?.operatorKey ?? randomSecret(),
      simulator,
    };
    writeSecrets(file, secrets);
    return secrets;
  } catch (error) {
    if (error instanceof DataPathError) throw error;
    const reason = messageOf(error);
    throw new DataPathError(
      `DATA_PATH: cannot write to ${dataPath} (${reason}): make it writable, or set DATA_PATH to a folder that is`,
    );
  }
}

/**
 * Replaces secrets. A server uses the new secrets after its next start. The previous signing secrets stay in the file,
 * so that tokens signed with them stay valid until the tokens expire: see {@link dropPreviousSecrets}.
 * @throws {DataPathError}
 */
export function rotateSecrets(dataPath: string, names: readonly SecretName[]): void {
  change(dataPath, (secrets) => {
    const { jwtSecret, operatorKey, simulator } = secrets;
    return {
      jwtSecret: names.includes("jwt-secret") ? `${randomSecret()}\n${jwtSecret}` : jwtSecret,
      operatorKey: names.includes("operator-key") ? randomSecret() : operatorKey,
      simulator: names.includes("simulator")
        ? Object.fromEntries(Object.keys(simulator).map((id) => [id, randomSecret()]))
        : simulator,
    };
  });
}

/** Removes all signing secrets except the newest. @returns how many were removed @throws {DataPathError} */
export function dropPreviousSecrets(dataPath: string): number {
  let dropped = 0;
  change(dataPath, (secrets) => {
    const [newest = "", ...previous] = secrets.jwtSecret.split("\n");
    dropped = previous.length;
    return { ...secrets, jwtSecret: newest };
  });
  return dropped;
}

function change(dataPath: string, update: (secrets: Secrets) => Secrets): void {
  const file = secretsFile(dataPath);
  try {
    const known = readSecrets(file);
    if (known === undefined)
      throw new DataPathError(`${file} does not exist: set DATA_PATH or --data-path to the data of the server`);
    writeSecrets(file, update(known));
  } catch (error) {
    if (error instanceof DataPathError) throw error;
    throw new DataPathError(
      `${file} cannot be changed (${messageOf(error)}): run this command as the user that runs the server`,
    );
  }
}

function secretsFile(dataPath: string): string {
  return join(dataPath, "secrets.json");
}

function writeSecrets(file: string, secrets: Secrets): void {
  const text = `${JSON.stringify({ ...secrets, check: checkOf(secrets) }, undefined, 2)}\n`;
  const temporary = `${file}.new`;
  writeFileSync(temporary, text, { mode: 0o600 });
  chmodSync(temporary, 0o600);
  keepOwner(file, temporary);
  renameSync(temporary, file);
}

/** Otherwise, the server could not read its secrets after root has replaced them. */
function keepOwner(file: string, temporary: string): void {
  const before = statSync(file, { throwIfNoEntry: false });
  if (before !== undefined && process.getuid?.() === 0) chownSync(temporary, before.uid, before.gid);
}

/** @returns undefined before the first start @throws {DataPathError} the file is damaged */
export function readSecrets(file: string): Secrets | undefined {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (reasonOf(error) === "ENOENT") return undefined;
    throw error;
  }
  // A damaged file is not replaced: new secrets would lock out every device and every user.
  const parsed = secretsSchema.safeParse(jsonOf(text));
  if (!parsed.success)
    throw new DataPathError(`${file} is damaged: restore it from a backup, or remove it to get new secrets`);
  const { check } = checkSchema.parse(jsonOf(text));
  // One changed character would silently make every token invalid.
  if (check !== undefined && check !== checkOf(parsed.data))
    throw new DataPathError(
      `${file} is damaged, it does not match its "check": restore it from a backup. If you changed a secret in it on ` +
        'purpose, remove "check" from it. A new secret invalidates the tokens and simulated devices of the old one',
    );
  return parsed.data;
}

/** Reveals nothing about the secrets: the secrets are random, and this is only a part of a hash. */
function checkOf({ jwtSecret, operatorKey, simulator }: Secrets): string {
  const devices = Object.entries(simulator).sort(([one], [other]) => (one < other ? -1 : 1));
  const text = JSON.stringify([jwtSecret, operatorKey, devices]);
  return createHash("sha256").update(text).digest("base64url").slice(0, CHECK_CHARACTERS);
}

function randomSecret(): string {
  return randomBytes(32).toString("base64url");
}
