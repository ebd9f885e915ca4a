import type { TokenIdentity } from "../../platform/identity.ts";
import type { Device, Devices } from "./devices.ts";
import { badCredentials, ConnackCode, notAuthorized, RefusedConnectionError, TokenUndecidedError } from "./errors.ts";
import type { SessionOwner } from "./session-owner.ts";

/** Throws or rejects for an invalid token. @throws {TokenUndecidedError} the token cannot be checked at the moment */
export type VerifyToken = (token: string) => Promise<TokenIdentity> | TokenIdentity;

export interface IdentityChecks {
  verifyToken: VerifyToken;
  devices: Devices;
}

interface Credentials {
  username: string | undefined;
  password: string | undefined;
  /** The common name of the verified client certificate. */
  certificateName: string | undefined;
}

/**
 * Finds the identity that a CONNECT proves. Without a password, the certificate decides. A password with two dots is a
 * JWT, and the user name is ignored. Any other password is a device's secret, which contains no dots, and the user name
 * is the device's id.
 * @throws {RefusedConnectionError}
 */
export async function identify(
  { username, password, certificateName }: Credentials,
  { verifyToken, devices }: IdentityChecks,
): Promise<SessionOwner> {
  if (password === undefined || password === "") return ownerFor(byCertificate(username, certificateName, devices));
  if (password.split(".").length === 3) {
    const { userId, permissions, tokenId, sessionId, issuedAt, expiresAt } = await verified(password, verifyToken);
    return { identity: `user:${userId}`, permissions, tokenId, sessionId, issuedAt, expiresAt };
  }
  const device = devices.verify(username ?? "", password);
  if (device === undefined) throw badCredentials("unknown device or wrong secret");
  return ownerFor(device);
}

function byCertificate(username: string | undefined, certificateName: string | undefined, devices: Devices): Device {
  if (certificateName === undefined) throw notAuthorized("no password: a device's secret or a token is required");
  const device = devices.withCertificate(certificateName);
  if (device === undefined)
    throw notAuthorized(`no password, and no device has the certificate name ${JSON.stringify(certificateName)}`);
  if (username === undefined || username === "" || username === device.id) return device;
  const name = JSON.stringify(username);
  throw notAuthorized(`the user name ${name} does not match the certificate, which is that of ${device.id}`);
}

async function verified(token: string, verifyToken: VerifyToken): Promise<TokenIdentity> {
  try {
    return await verifyToken(token);
  } catch (error) {
    if (error instanceof TokenUndecidedError)
      throw new RefusedConnectionError(ConnackCode.serverUnavailable, `its token: ${error.message}`);
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
