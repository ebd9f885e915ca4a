import type { Bearer } from "../../platform/identity.ts";
import type { Devices } from "./devices.ts";

const KINDS = { device: "camera", service: "processing" } as const;

export interface EndedIdentitiesOptions {
  devices: Pick<Devices, "get">;
  /** Whether the token of a user, or the login it comes from, is revoked. That it has expired does not count. */
  isRevoked(bearer: Bearer): boolean;
}

/**
 * Tells of what a client has left behind whether its identity has ended since: the device is removed or has another
 * secret, the user's token is revoked. A token that has expired ends nothing: its user comes back with the next.
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

/** The device whose identity it is; undefined for a user. */
export function deviceIdentity(identity: string): { kind: "device" | "service"; id: string } | undefined {
  const at = identity.indexOf(":");
  const kind = identity.slice(0, at);
  return kind === "device" || kind === "service" ? { kind, id: identity.slice(at + 1) } : undefined;
}
