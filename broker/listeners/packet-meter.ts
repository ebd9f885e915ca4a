/** Packet types of MQTT 3.1.1 section 2.2.1 that are looked at. */
const CONNECT = 1;
const PUBLISH = 3;
const PUBACK = 4;
const PUBREC = 5;
const PUBCOMP = 7;
const SUBSCRIBE = 8;
const UNSUBSCRIBE = 10;
const DISCONNECT = 14;
/** A fixed header has at most 4 bytes of length [MQTT-2.2.3]. */
const MAX_LENGTH_BYTES = 4;
const NOTHING = Buffer.alloc(0);

export interface PacketLimits {
  /** The whole CONNECT packet, bytes. */
  maxConnectBytes: number;
  /** Any later packet, bytes. Of a larger PUBLISH so much goes on, for its refusal, and the rest is dropped. */
  maxPacketBytes: number;
  /** The filters of one SUBSCRIBE or UNSUBSCRIBE. */
  maxFilters: number;
}

/** What a client pays for its packets. */
export interface Toll {
  /** False before the client has proved who it is: then it pays nothing, and a limit on bytes bounds it. */
  readonly isKnown: boolean;
  /** Asked before each packet. */
  mayTake(): boolean;
  /** @param isAnswer PUBACK, PUBREC or PUBCOMP: it answers what the broker sent */
  packet(isAnswer: boolean): void;
  /** A filter beyond the first of its packet. */
  filter(): void;
  /** The client says that it ends the connection. */
  goodbye(): void;
}

/** A part of the stream of packets that may go on. */
export interface Reading {
  bytes: Buffer;
  /** Whether the end of a packet is among them. */
  endsPacket: boolean;
  /** Begins with a packet that is to wait. */
  rest: Buffer;
  /** What is wrong with what follows. */
  problem: string | undefined;
}

/**
 * Cuts what a client sends into portions that it has paid for, and finds the first packet that is too large, or the first
 * packet that is not a CONNECT, when its header has come. Aedes' parser has no limit: it would collect the whole of a
 * packet of 256 MB before anybody is asked whether the client may send it, and would take 65,000 PINGREQs in one turn.
 */
export class PacketMeter {
  readonly #limits: PacketLimits;
  /** The beginning of a fixed header whose end has not come. */
  #header = NOTHING;
  /** Bytes of the current packet that are still to come, and go on. */
  #body = 0;
  /** Bytes behind them that are dropped. */
  #excess = 0;
  #type = 0;
  #filters: FilterCount | undefined;
  #connectSeen = false;
  #connectRead = false;

  constructor(limits: PacketLimits) {
    this.#limits = limits;
  }

  /** Whether a CONNECT that is not too large has come, to its last byte. */
  get connectRead(): boolean {
    return this.#connectRead;
  }

  read(chunk: Buffer, toll: Toll): Reading {
    const input = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    this.#header = NOTHING;
    const parts: Buffer[] = [];
    /** Where what goes on as it came begins. */
    let from = 0;
    let at = 0;
    let endsPacket = false;
    let problem: string | undefined;
    while (at < input.length && problem === undefined) {
      if (this.#body > 0) {
        const end = at + Math.min(this.#body, input.length - at);
        problem = this.#countFilters(input, at, end, toll);
        this.#body -= end - at;
        at = end;
        if (this.#body > 0) continue;
        this.#connectRead = true;
        endsPacket = true;
        // What it asks for is paid when the broker has looked at it, before anything else of this client.
        if (this.#type === SUBSCRIBE && toll.isKnown) break;
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
      if (!toll.mayTake()) break;
      const header = readHeader(input, at);
      if (!this.#connectSeen && (input[at] ?? 0) >> 4 !== CONNECT) problem = "the first packet is not an MQTT CONNECT";
      else if (header === "malformed") problem = "a packet whose length is malformed";
      else if (header === "incomplete") {
        parts.push(input.subarray(from, at));
        this.#header = Buffer.from(input.subarray(at));
        from = at = input.length;
      } else {
        const { type, length, end } = header;
        const limit = this.#connectSeen ? this.#limits.maxPacketBytes : this.#limits.maxConnectBytes;
        if (length <= limit) this.#begin(type, length, toll);
        else if (this.#connectSeen && type === PUBLISH) {
          parts.push(input.subarray(from, at), headerOf(input[at] ?? 0, limit));
          from = end;
          this.#begin(type, limit, toll);
          this.#excess = length - limit;
        } else problem = `a packet of ${length} bytes or more, where ${limit} are allowed`;
        at = end;
        endsPacket ||= length === 0;
      }
    }
    if (problem !== undefined) return { bytes: NOTHING, endsPacket, rest: NOTHING, problem };
    const last = from === 0 && at === input.length ? input : input.subarray(from, at);
    const bytes = parts.length === 0 ? last : Buffer.concat([...parts, last]);
    return { bytes, endsPacket, rest: at === input.length ? NOTHING : input.subarray(at), problem };
  }

  #begin(type: number, length: number, toll: Toll): void {
    this.#connectSeen = true;
    this.#type = type;
    this.#body = length;
    this.#filters = type === SUBSCRIBE || type === UNSUBSCRIBE ? new FilterCount(type === SUBSCRIBE) : undefined;
    if (type === DISCONNECT) toll.goodbye();
    toll.packet(type === PUBACK || type === PUBREC || type === PUBCOMP);
  }

  #countFilters(input: Buffer, from: number, to: number, toll: Toll): string | undefined {
    if (this.#filters === undefined) return undefined;
    const before = this.#filters.count;
    const after = this.#filters.read(input, from, to);
    for (let count = Math.max(1, before); count < after; count++) toll.filter();
    if (after <= this.#limits.maxFilters) return undefined;
    return `a packet of more than ${this.#limits.maxFilters} filters: MAX_MQTT_SUBSCRIPTIONS bounds those of one packet too`;
  }
}

/** Counts the filters in the body of a SUBSCRIBE or UNSUBSCRIBE, in whatever pieces it comes [MQTT-3.8.3]. */
class FilterCount {
  /** Bytes behind each filter: the QoS of a SUBSCRIBE. */
  readonly #trailer: number;
  /** Bytes that say nothing of the number of filters: first the packet's id. */
  #skip = 2;
  #high: number | undefined;
  count = 0;

  constructor(isSubscribe: boolean) {
    this.#trailer = isSubscribe ? 1 : 0;
  }

  /** @returns how many there have been */
  read(bytes: Buffer, from: number, to: number): number {
    for (let at = from; at < to; ) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, to - at);
        this.#skip -= skipped;
        at += skipped;
        continue;
      }
      const byte = bytes[at++] ?? 0;
      if (this.#high === undefined) {
        this.#high = byte;
        this.count++;
      } else {
        this.#skip = this.#high * 256 + byte + this.#trailer;
        this.#high = undefined;
      }
    }
    return this.count;
  }
}

interface Header {
  type: number;
  length: number;
  /** Where the body begins. */
  end: number;
}

function readHeader(input: Buffer, from: number): Header | "incomplete" | "malformed" {
  let length = 0;
  for (let index = 1; index <= MAX_LENGTH_BYTES; index++) {
    const byte = input[from + index];
    if (byte === undefined) return "incomplete";
    length += (byte & 0x7f) * 128 ** (index - 1);
    if ((byte & 0x80) === 0) return { type: (input[from] ?? 0) >> 4, length, end: from + index + 1 };
  }
  return "malformed";
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
