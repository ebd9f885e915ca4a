/** Events are numbered from here, so that every number has nine digits and an event can be patched in place. */
export const FIRST_NUMBER = 100_000_000;
const NUMBER_DIGITS = 9;
const MICROS_DIGITS = 16;

const MARK = Buffer.from('"bench_n":');
const SENT_OFFSET = MARK.length + NUMBER_DIGITS + ',"sent":"'.length;

export const EVENT_NAME = "capture.progress";

export interface EventTemplateOptions {
  /** One boot of one sender, and the beginning of its events' ids. */
  session: string;
  /** Size of the whole payload, bytes. */
  payloadBytes: number;
}

/**
 * The payload of a numbered event, as a camera's envelope. Built once and patched for each event: the load generators
 * share two cores with the server they measure, so they may not spend time on JSON.
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

  /** Writes the event numbered `number` into `target`. */
  writeTo(target: Buffer, offset: number, number: number, sentMicros: number): void {
    this.#payload.copy(target, offset);
    for (const at of this.#numbers) writeDigits(target, offset + at, number, NUMBER_DIGITS);
    writeDigits(target, offset + this.#sent, sentMicros, MICROS_DIGITS);
  }
}

/** An envelope of the contract whose `data` holds the number, the time it was sent, and padding. */
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

/** Where the number of an event stands in `buffer` from `start`, or -1: what is there is no event of the benchmark. */
export function findNumber(buffer: Buffer, start: number, end: number): number {
  const mark = buffer.indexOf(MARK, start);
  return mark === -1 || mark + SENT_OFFSET + MICROS_DIGITS > end ? -1 : mark + MARK.length;
}

/** The number that {@link findNumber} found. */
export function readNumber(buffer: Buffer, at: number): number {
  return readDigits(buffer, at, NUMBER_DIGITS);
}

/** When the event whose number stands at `at` was sent, microseconds of the monotonic clock. */
export function readSentMicros(buffer: Buffer, at: number): number {
  return readDigits(buffer, at - MARK.length + SENT_OFFSET, MICROS_DIGITS);
}

function readDigits(buffer: Buffer, at: number, digits: number): number {
  let value = 0;
  for (let index = at; index < at + digits; index++) value = value * 10 + (buffer[index] ?? 48) - 48;
  return value;
}
