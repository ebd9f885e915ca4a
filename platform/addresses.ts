/** Removes the IPv6 prefix that a dual-stack socket puts before an IPv4 address: `::ffff:10.0.0.5` is `10.0.0.5`. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/**
 * The network to which limits per address apply: an IPv4 address itself, or the /64 network of an IPv6 address. An
 * internet provider gives one customer a whole /64 network, so limits on single IPv6 addresses would limit nobody.
 * @param address as reported by a socket or a trusted proxy; other text is returned unchanged
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
