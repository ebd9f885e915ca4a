import type { Bearer } from "../../platform/identity.ts";
import type { Devices } from "./devices.ts";

const KINDS = { device: "camera", service: "processing" } as const;

interface EndedIdentitiesOptions {
  devices: Pick<Devices, "get">;
  /** Whether the user's token or login is revoked. Ignores expiry. */
  isRevoked(bearer: Bearer): boolean;
}

/**
 * Whether the owner of a session or will has lost access: the device was removed or has another secret, or the user's
 * token was revoked. An expired token does not count: the user reconnects with the next token.
 */
export function endedIdentities({ devices, isRevoked }: EndedIdentitiesOptions): (bearer: Bearer) => boolean {
  return (bearer) => {
    const device = deviceIdentity(bearer.identity);
    if (device === undefined) return isRevoked(bearer);
    const known = devices.get(device.id);
    if (known === undefined || known.kind !== KINDS[device.kind]) return true;
    return bearer.issuedAt !== undefined && bearer.issuedAt !== known.changedAt;
  };
}

/** The device that the identity names; undefined for a user. */
export function deviceIdentity(identity: string): { kind: "device" | "service"; id: string } | undefined {
  const at = identity.indexOf(":");
  const kind = identity.slice(0, at);
  return kind === "device" || kind === "service" ? { kind, id: identity.slice(at + 1) } : undefined;
}
