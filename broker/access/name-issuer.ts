import { withIssuer } from "../../contract/commands.ts";

/** Writes the client's identity into its command. @returns false when the command's JSON is nested too deeply */
export function nameIssuer(packet: { payload: string | Buffer }, identity: string): boolean {
  const payload = typeof packet.payload === "string" ? Buffer.from(packet.payload) : packet.payload;
  const named = withIssuer(payload, identity);
  if (named === undefined) return false;
  packet.payload = Buffer.from(named.buffer, named.byteOffset, named.byteLength);
  return true;
}
