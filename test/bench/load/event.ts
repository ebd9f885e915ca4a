/** Every event number has nine digits, so that an event can be patched in place. */
export const FIRST_NUMBER = 100_000_000;
const NUMBER_DIGITS = 9;
const MICROS_DIGITS = 16;

const MARK = Buffer.from('"bench_n":');
const SENT_OFFSET = MARK.length + NUMBER_DIGITS + ',"sent":"'.length;

export const EVENT_NAME = "capture.progress";

export interface EventTemplateOptions {
  /** The sender's session, and the prefix of its events' ids. */
  session: string;
  payloadBytes: number;
}

/**
 * The payload of a numbered event in a camera's envelope. It is built once and patched for each event: the load
 * generators share two cores with the server under test, so they must not spend time on JSON.
 */
export class EventTemplate {
  readonly #payload: Buffer;
  readonly #numbers: readonly number[];
  readonly #sent: number;

  constructor({ session, payloadBytes }: EventTemplateOptions) {
    const bare = envelope(session, 0);
    if (bare.length > payloadBytes) throw new RangeError(`an event needs at least ${bare.length} bytes`);
    this.#payload = Buffer.from(envelope(session, payloadBytes - bare.length));
    const mark = this.#payload.indexOf(MARK);
    const digits = String(FIRST_NUMBER);
    this.#numbers = [this.#payload.indexOf(digits), this.#payload.indexOf(`"seq":${digits}`) + 6, mark + MARK.length];
    this.#sent = mark + SENT_OFFSET;
  }

  get byteLength(): number {
    return this.#payload.length;
  }

  /** Writes the event with the given number into `target`. */
  writeTo(target: Buffer, offset: number, number: number, sentMicros: number): void {
    this.#payload.copy(target, offset);
    for (const at of this.#numbers) writeDigits(target, offset + at, number, NUMBER_DIGITS);
    writeDigits(target, offset + this.#sent, sentMicros, MICROS_DIGITS);
  }
}

/** An envelope of the contract. `data` contains the number, the send time and padding. */
function envelope(session: string, padding: number): string {
  return JSON.stringify({
    v: 1,
    id: `${session}-${FIRST_NUMBER}`,
    timestamp: new Date().toISOString(),
    session,
    seq: FIRST_NUMBER,
    event: EVENT_NAME,
    data: { bench_n: FIRST_NUMBER, sent: "0".repeat(MICROS_DIGITS), pad: "x".repeat(padding) },
  });
}

function writeDigits(target: Buffer, offset: number, value: number, digits: number): void {
  let rest = value;
  for (let at = offset + digits - 1; at >= offset; at--) {
    target[at] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

/** The index of the event number in `buffer`, or -1 if the text after `start` is no event of the benchmark. */
export function findNumber(buffer: Buffer, start: number, end: number): number {
  const mark = buffer.indexOf(MARK, start);
  return mark === -1 || mark + SENT_OFFSET + MICROS_DIGITS > end ? -1 : mark + MARK.length;
}

/** The event number at an index from {@link findNumber}. */
export function readNumber(buffer: Buffer, at: number): number {
  return readDigits(buffer, at, NUMBER_DIGITS);
}

/** The send time of an event whose number is at `at`, in microseconds of the monotonic clock. */
export function readSentMicros(buffer: Buffer, at: number): number {
  return readDigits(buffer, at - MARK.length + SENT_OFFSET, MICROS_DIGITS);
}

function readDigits(buffer: Buffer, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index++) value = value * 10 + (buffer[index] ?? 48) - 48;
  return value;
}
