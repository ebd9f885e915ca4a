import { counted } from "../../platform/counted.ts";

/** Packet types of MQTT 3.1.1 section 2.2.1. */
const CONNECT = 1;
const PUBLISH = 3;
const PUBACK = 4;
const PUBREC = 5;
const PUBCOMP = 7;
const SUBSCRIBE = 8;
const UNSUBSCRIBE = 10;
const DISCONNECT = 14;
/** The protocol level of MQTT 5.0. */
export const MQTT_5 = 5;
/** The protocol name of MQTT 3.1.1 and 5 in a CONNECT, with its length. The level follows. */
const NAME = Buffer.from("\0\u0004MQTT");
/** The length in a fixed header has at most 4 bytes [MQTT-2.2.3]. */
const MAX_LENGTH_BYTES = 4;
const NOTHING = Buffer.alloc(0);

export interface PacketLimits {
  /** Bytes of the whole CONNECT packet. */
  maxConnectBytes: number;
  /** Bytes of any later packet. A larger PUBLISH is truncated, so that it can be acknowledged and refused. */
  maxPacketBytes: number;
  /** The same for clients of MQTT 5, which know the limit: a larger packet ends the connection. */
  maxMqtt5PacketBytes: number;
  /** Filters of one SUBSCRIBE or UNSUBSCRIBE. */
  maxFilters: number;
}

/** Charges the client for its packets. */
export interface PacketCharges {
  /** False before authentication, when nothing is charged and the limit on bytes before the CONNACK applies. */
  readonly isAuthenticated: boolean;
  /** Called before each packet. False when the client has to wait. */
  mayRead(): boolean;
  /** A packet begins. @param isAcknowledgement whether it is PUBACK, PUBREC or PUBCOMP */
  packet(isAcknowledgement: boolean): void;
  /** Charges for a filter after the first one of a packet. */
  filter(): void;
  disconnect(): void;
}

export interface Reading {
  /** The input that may be passed on. */
  bytes: Buffer;
  /** Whether `bytes` contains the end of a packet. */
  endsPacket: boolean;
  /** The input that has to wait. Its first byte begins a packet. */
  rest: Buffer;
  /** Why the connection must be closed. */
  problem: PacketProblem | undefined;
}

export interface PacketProblem {
  kind: "no-connect" | "malformed" | "too-large" | "too-many-filters";
  why: string;
}

/**
 * Splits a client's input into packets, charges for each, and stops where the client has to wait. Looks only at a
 * packet's header to detect that it is too large, or that the first packet is not a CONNECT. Aedes' parser has no
 * limits: it would buffer 256 MB before the access rules apply, and would handle 65,000 PINGREQs in one turn of the
 * event loop.
 */
export class PacketMeter {
  readonly #limits: PacketLimits;
  /** The beginning of an incomplete fixed header. */
  #header = NOTHING;
  /** Bytes of the current packet that have yet to arrive and will be passed on. */
  #body = 0;
  /** Bytes of the current packet after `#body` that will be dropped. */
  #excess = 0;
  #type = 0;
  #filters: FilterCount | undefined;
  #connectSeen = false;
  /** The beginning of the CONNECT, until it contains the protocol level. */
  #connectHead: Buffer | undefined = NOTHING;
  /** Whether a complete CONNECT within the limits has arrived. */
  connectRead = false;
  /** Undefined until CONNECT names a level. 0: the CONNECT has a protocol name other than that of MQTT 3.1.1 and 5. */
  protocolLevel: number | undefined;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  read(chunk: Buffer, charges: PacketCharges): Reading {
    const input = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    this.#header = NOTHING;
    const parts: Buffer[] = [];
    /** The start of the bytes that are passed on unchanged. */
    let from = 0;
    let at = 0;
    let endsPacket = false;
    let problem: PacketProblem | undefined;
    while (at < input.length && problem === undefined) {
      if (this.#body > 0) {
        const end = at + Math.min(this.#body, input.length - at);
        if (this.#connectHead !== undefined) this.#readLevel(input.subarray(at, end));
        problem = this.#countFilters(input, at, end, charges);
        this.#body -= end - at;
        at = end;
        if (this.#body > 0) continue;
        this.connectRead = true;
        endsPacket = true;
        // Stop after a SUBSCRIBE: the broker charges for its retained messages before the client's next packet is read.
        if (this.#type === SUBSCRIBE && charges.isAuthenticated) break;
        continue;
      }
      if (this.#excess > 0) {
        parts.push(input.subarray(from, at));
        const dropped = Math.min(this.#excess, input.length - at);
        this.#excess -= dropped;
        at += dropped;
        from = at;
        continue;
      }
      if (!charges.mayRead()) break;
      const header = readHeader(input, at);
      if (!this.#connectSeen && (input[at] ?? 0) >> 4 !== CONNECT)
        problem = { kind: "no-connect", why: "the first packet is not an MQTT CONNECT" };
      else if (header === "malformed") problem = { kind: "malformed", why: "a packet has a malformed length" };
      else if (header === "incomplete") {
        parts.push(input.subarray(from, at));
        this.#header = Buffer.from(input.subarray(at));
        from = at = input.length;
      } else {
        const { type, length, bodyAt } = header;
        const limit = this.#limit;
        if (length <= limit) this.#begin(type, length, charges);
        else if (this.#connectSeen && type === PUBLISH && this.protocolLevel !== MQTT_5) {
          parts.push(input.subarray(from, at), headerOf(input[at] ?? 0, limit));
          from = bodyAt;
          this.#begin(type, limit, charges);
          this.#excess = length - limit;
        } else problem = tooLarge(length, limit);
        at = bodyAt;
        endsPacket ||= length === 0;
      }
    }
    if (problem !== undefined) return { bytes: NOTHING, endsPacket, rest: NOTHING, problem };
    const last = from === 0 && at === input.length ? input : input.subarray(from, at);
    const bytes = parts.length === 0 ? last : Buffer.concat([...parts, last]);
    return { bytes, endsPacket, rest: at === input.length ? NOTHING : input.subarray(at), problem };
  }

  get #limit(): number {
    if (!this.#connectSeen) return this.#limits.maxConnectBytes;
    return this.protocolLevel === MQTT_5 ? this.#limits.maxMqtt5PacketBytes : this.#limits.maxPacketBytes;
  }

  #begin(type: number, length: number, charges: PacketCharges): void {
    this.#connectSeen = true;
    this.#type = type;
    this.#body = length;
    // A CONNECT without content: Aedes closes the connection.
    if (type === CONNECT && length === 0) this.protocolLevel ??= 0;
    const hasFilters = type === SUBSCRIBE || type === UNSUBSCRIBE;
    this.#filters = hasFilters ? new FilterCount(type === SUBSCRIBE, this.protocolLevel === MQTT_5) : undefined;
    if (type === DISCONNECT) charges.disconnect();
    charges.packet(type === PUBACK || type === PUBREC || type === PUBCOMP);
  }

  #readLevel(bytes: Buffer): void {
    const head = Buffer.concat([this.#connectHead ?? NOTHING, bytes.subarray(0, NAME.length + 1)]);
    const isWhole = head.length > NAME.length || bytes.length === this.#body;
    this.#connectHead = isWhole ? undefined : head;
    if (isWhole) this.protocolLevel = head.subarray(0, NAME.length).equals(NAME) ? head[NAME.length] : 0;
  }

  #countFilters(input: Buffer, from: number, to: number, charges: PacketCharges): PacketProblem | undefined {
    if (this.#filters === undefined) return undefined;
    const before = this.#filters.count;
    const after = this.#filters.read(input, from, to);
    for (let count = Math.max(1, before); count < after; count++) charges.filter();
    if (after <= this.#limits.maxFilters) return undefined;
    const why = `a packet has more than ${counted(this.#limits.maxFilters, "filter")}, the limit of MAX_MQTT_SUBSCRIPTIONS`;
    return { kind: "too-many-filters", why };
  }
}

function tooLarge(length: number, limit: number): PacketProblem {
  return { kind: "too-large", why: `a packet of at least ${length} bytes exceeds the limit of ${limit}` };
}

/** Counts the filters of a SUBSCRIBE or UNSUBSCRIBE that arrives in pieces of any size [MQTT-3.8.3]. */
class FilterCount {
  /** Bytes after each filter: 1 in a SUBSCRIBE, for the QoS; 0 in an UNSUBSCRIBE. */
  readonly #trailer: number;
  /** Bytes to skip. The body begins with the packet id. */
  #skip = 2;
  /** The high byte of a filter's length, until the low byte arrives. */
  #high: number | undefined;
  count = 0;
  /** The bytes of the length of the properties so far, and the length. Undefined: the packet has no properties to come. */
  #properties: { bytes: number; length: number } | undefined;

  constructor(isSubscribe: boolean, hasProperties: boolean) {
    this.#trailer = isSubscribe ? 1 : 0;
    this.#properties = hasProperties ? { bytes: 0, length: 0 } : undefined;
  }

  /** @returns the filters counted so far */
  read(bytes: Buffer, from: number, to: number): number {
    for (let at = from; at < to; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, to - at);
        this.#skip -= skipped;
        at += skipped;
        continue;
      }
      const byte = bytes[at++] ?? 0;
      if (this.#properties !== undefined) this.#readPropertiesLength(this.#properties, byte);
      else if (this.#high === undefined) {
        this.#high = byte;
        this.count++;
      } else {
        this.#skip = this.#high * 256 + byte + this.#trailer;
        this.#high = undefined;
      }
    }
    return this.count;
  }

  #readPropertiesLength(known: { bytes: number; length: number }, byte: number): void {
    known.length += (byte & 0x7f) * 128 ** known.bytes++;
    if ((byte & 0x80) !== 0 && known.bytes < MAX_LENGTH_BYTES) return;
    this.#skip = known.length;
    this.#properties = undefined;
  }
}

function readHeader(input: Buffer, from: number) {
  let length = 0;
  for (let index = 1; index <= MAX_LENGTH_BYTES; index++) {
    const byte = input[from + index];
    if (byte === undefined) return "incomplete" as const;
    length += (byte & 0x7f) * 128 ** (index - 1);
    if ((byte & 0x80) === 0) return { type: (input[from] ?? 0) >> 4, length, bodyAt: from + index + 1 };
  }
  return "malformed" as const;
}

function headerOf(firstByte: number, length: number): Buffer {
  const header = [firstByte];
  let rest = length;
  do {
    header.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(header);
}
