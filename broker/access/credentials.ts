import { INTEGRATION_SECRET_PREFIX, type TokenIdentity } from "../../platform/identity.ts";
import type { Device, Devices } from "./devices.ts";
import { badCredentials, ConnackCode, notAuthorized, RefusedConnectionError, TokenUndecidedError } from "./errors.ts";
import type { SessionOwner } from "./session-owner.ts";

/** Throws or rejects for an invalid token or secret of an integration. @throws {TokenUndecidedError} the token cannot be checked at the moment */
export type VerifyToken = (token: string) => Promise<TokenIdentity> | TokenIdentity;

/**
 * Checks the password of a person's account. Resolves to undefined when it is wrong.
 * @throws {TokenUndecidedError} the password cannot be checked at the moment
 */
export type VerifyPassword = (login: {
  userId: string;
  password: string;
  /** The client's address. */
  address: string;
}) => Promise<TokenIdentity | undefined>;

export interface IdentityChecks {
  verifyToken: VerifyToken;
  /** Undefined: the passwords of accounts are not accepted. */
  verifyPassword: VerifyPassword | undefined;
  devices: Devices;
}

interface Credentials {
  username: string | undefined;
  password: string | undefined;
  /** The common name of the verified client certificate. */
  certificateName: string | undefined;
  address: string;
}

/**
 * Finds the identity that a CONNECT proves. Without a password, the certificate decides. A password with two dots is a
 * JWT, and one with {@link INTEGRATION_SECRET_PREFIX} the secret of an integration: the user name is then ignored. Any
 * other password is that of the device or, if the operator allows it, the account that the user name names.
 * @throws {RefusedConnectionError}
 */
export async function identify(
  { username = "", password, certificateName, address }: Credentials,
  { verifyToken, verifyPassword, devices }: IdentityChecks,
): Promise<SessionOwner> {
  if (password === undefined || password === "") return ownerFor(byCertificate(username, certificateName, devices));
  if (password.startsWith(INTEGRATION_SECRET_PREFIX) || password.split(".").length === 3)
    return userOf(await verified(() => verifyToken(password)));
  const device = devices.verify(username, password);
  if (device !== undefined) return ownerFor(device);
  if (verifyPassword === undefined) throw badCredentials("unknown device or wrong secret");
  const account = await verified(() => verifyPassword({ userId: username, password, address }));
  if (account === undefined) throw badCredentials("unknown device or user, or wrong secret or password");
  return userOf(account);
}

function userOf({ userId, permissions, tokenId, sessionId, issuedAt, expiresAt }: TokenIdentity): SessionOwner {
  return { identity: `user:${userId}`, permissions, tokenId, sessionId, issuedAt, expiresAt };
}

function byCertificate(username: string, certificateName: string | undefined, devices: Devices): Device {
  if (certificateName === undefined) throw notAuthorized("no password: a device's secret or a token is required");
  const device = devices.withCertificate(certificateName);
  if (device === undefined)
    throw notAuthorized(`no password, and no device has the certificate name ${JSON.stringify(certificateName)}`);
  if (username === "" || username === device.id) return device;
  const name = JSON.stringify(username);
  throw notAuthorized(`the user name ${name} does not match the certificate, which is that of ${device.id}`);
}

async function verified<Result>(verify: () => Promise<Result> | Result): Promise<Result> {
  try {
    return await verify();
  } catch (error) {
    if (error instanceof TokenUndecidedError)
      throw new RefusedConnectionError(ConnackCode.serverUnavailable, `its credentials: ${error.message}`);
    throw badCredentials(`its token: ${error instanceof Error ? error.message : "is not valid"}`);
  }
}

function ownerFor({ id, kind, changedAt }: Device): SessionOwner {
  const isCamera = kind === "camera";
  return {
    identity: `${isCamera ? "device" : "service"}:${id}`,
    permissions: [`${isCamera ? "device" : "processing"}:${id}`],
    issuedAt: changedAt,
  };
}
