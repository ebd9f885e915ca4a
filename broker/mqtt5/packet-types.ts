/** Packet types of MQTT 5.0, section 2.1.2. */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const;

/** The flags that a packet of the type must have [MQTT-2.1.3-1]. PUBLISH has flags of its own. */
export function requiredFlags(type: number): number {
  const hasFlag = type === PacketType.pubrel || type === PacketType.subscribe || type === PacketType.unsubscribe;
  return hasFlag ? 0b0010 : 0;
}
