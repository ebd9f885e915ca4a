import type { TokenIdentity } from "../../platform/identity.ts";
import type { Device, Devices } from "./devices.ts";
import { badCredentials, ConnackCode, notAuthorized, RefusedConnectionError, TokenUndecidedError } from "./errors.ts";
import type { SessionOwner } from "./session-owner.ts";

/**
 * Returns the token's identity. Throws or rejects when the token is invalid.
 * @throws {TokenUndecidedError} it cannot be checked at the moment
 */
export type VerifyToken = (token: string) => Promise<TokenIdentity> | TokenIdentity;

interface CredentialsOptions {
  verifyToken: VerifyToken;
  devices: Devices;
}

/** What a CONNECT proves its client's identity with. */
interface ConnectCredentials {
  username: string | undefined;
  password: string | undefined;
  /** The common name of the verified client certificate. */
  certificateName: string | undefined;
}

/** Finds the identity that a CONNECT proves: by a device's secret, by a token, or by a device's client certificate. */
export class Credentials {
  readonly #options: CredentialsOptions;

  constructor(options: CredentialsOptions) {
    this.#options = options;
  }

  /**
   * Without a password the certificate decides. A password with two dots is a JWT, and the user name is ignored. Any
   * other password is the secret of the device that the user name names: a secret contains no dots.
   * @throws {RefusedConnectionError}
   */
  async identify({ username, password, certificateName }: ConnectCredentials): Promise<SessionOwner> {
    if (password === undefined || password === "") return this.#byCertificate(username, certificateName);
    if (password.split(".").length === 3) {
      const token = await this.#verified(password);
      return {
        identity: `user:${token.userId}`,
        permissions: token.permissions,
        tokenId: token.tokenId,
        sessionId: token.sessionId,
        issuedAt: token.issuedAt,
        expiresAt: token.expiresAt,
      };
    }
    const device = this.#options.devices.verify(username ?? "", password);
    if (device === undefined) throw badCredentials("unknown device or wrong secret");
    return ownerFor(device);
  }

  #byCertificate(username: string | undefined, certificateName: string | undefined): SessionOwner {
    if (certificateName === undefined) throw notAuthorized("no password: a device's secret or a token is required");
    const device = this.#options.devices.withCertificate(certificateName);
    if (device === undefined)
      throw notAuthorized(`no password, and no device has the certificate name ${JSON.stringify(certificateName)}`);
    if (username !== undefined && username !== "" && username !== device.id)
      throw notAuthorized(
        `the user name ${JSON.stringify(username)} does not match the certificate, which is that of ${device.id}`,
      );
    return ownerFor(device);
  }

  async #verified(token: string): Promise<TokenIdentity> {
    try {
      return await this.#options.verifyToken(token);
    } catch (error) {
      if (error instanceof TokenUndecidedError)
        throw new RefusedConnectionError(ConnackCode.serverUnavailable, `its token: ${error.message}`);
      throw badCredentials(`its token: ${error instanceof Error ? error.message : "is not valid"}`);
    }
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
