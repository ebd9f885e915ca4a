/** IPv4 as a dual-stack socket shows it (`::ffff:10.0.0.5`) is still IPv4. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/**
 * Whom a limit by address counts: an IPv4 address, or of an IPv6 address its network of 64 bits, for whoever has one of
 * them has them all.
 * @param address as a socket or a trusted proxy names it; text that is no IPv6 address comes back as it is
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address);
  if (!plain.includes(":")) return plain;
  const [front = "", back = ""] = plain.toLowerCase().replace(/%.*/, "").split("::");
  const groups = front === "" ? [] : front.split(":");
  const after = back === "" ? 0 : back.split(":").length;
  while (groups.length + after < 8) groups.push("0");
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
