/** Removes the prefix of an IPv4 address on a dual-stack socket: `::ffff:10.0.0.5` is `10.0.0.5`. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
}

/**
 * The network for limits per address: an IPv4 address itself, or the /64 network of an IPv6 address, which an internet
 * provider gives to one customer. Returns other text unchanged.
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
