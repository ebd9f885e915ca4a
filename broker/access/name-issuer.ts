import { withIssuer } from "../../contract/commands.ts";

/**
 * Puts the client's identity into the command that it publishes, or will publish when it is gone.
 * @returns false when the command is nested too deep to be let through
 */
export function nameIssuer(packet: { payload: string | Buffer }, identity: string): boolean {
  const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
  const named = withIssuer(payload, identity);
  if (named === undefined) return false;
  packet.payload = Buffer.from(named.buffer, named.byteOffset, named.byteLength);
  return true;
}
