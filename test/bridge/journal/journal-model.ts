import fc from "fast-check";
import { expect, test } from "vitest";
import type { Appended, Entry, Journal, JournalMessage } from "../../../bridge/journal/journal.ts";
import type { JournalPlace } from "./journal-suite.ts";
import { message, positions, readAll } from "./messages.ts";

const HOUR_MS = 3_600_000;
const RETENTION = { retentionEvents: 6, retentionHours: 5 };

/** The simplest exact model of a journal. */
class Model {
  readonly entries: Entry[] = [];
  readonly floors = new Map<string, number>();
  readonly states = new Map<string, number>();
  readonly #positions = new Map<string, number>();
  readonly undelivered = new Set<number>();
  readonly opened = new Set<number>();

  get head(): number {
    return this.entries.length;
  }

  append(sent: JournalMessage, acceptedAt: number, appended: Appended): void {
    const { sender, id, session, seq } = sent.origin;
    const name = session === undefined ? id && `id ${sender} ${id}` : `seq ${sender} ${session} ${seq}`;
    const positionBefore = name === undefined ? undefined : this.#positions.get(name);
    // A duplicate of a kept entry must be detected. A duplicate of a removed entry may be detected.
    if (positionBefore !== undefined && (appended.duplicate || this.#isKept(positionBefore))) {
      expect(appended).toEqual({ position: undefined, duplicate: true });
      return;
    }
    const position = this.head + 1;
    expect(appended).toEqual({ position, duplicate: false });
    const { topic, channels, camera, body, state } = sent;
    this.entries.push({ position, topic, channels, camera, body, state, acceptedAt });
    if (name !== undefined) this.#positions.set(name, position);
    this.states.delete(topic);
    if (state === "set") this.states.set(topic, position);
    if (sent.open !== undefined) {
      this.undelivered.add(position);
      this.opened.add(position);
    }
  }

  /** The positions of the current state of a channel. */
  stateOf(channel: string): number[] {
    return [...this.states.values()].filter((position) => this.entries[position - 1]?.channels.includes(channel));
  }

  replay(channels: readonly string[], after: number, until: number): Entry[] {
    return this.entries.filter(
      (entry) =>
        entry.position > after &&
        entry.position <= until &&
        channels.some((name) => entry.channels.includes(name) && entry.position > this.floorOf(name)),
    );
  }

  floorOf(channel: string): number {
    return this.floors.get(channel) ?? 0;
  }

  trim(now: number): number {
    const before = this.entries.filter(({ position }) => this.#isKept(position)).length;
    for (const channel of new Set(this.entries.flatMap(channelsOf))) {
      const kept = this.entries.filter(
        (entry) => channelsOf(entry).includes(channel) && entry.position > this.floorOf(channel),
      );
      const dropped = kept.filter(
        (entry, index) =>
          kept.length - index > RETENTION.retentionEvents ||
          entry.acceptedAt < now - RETENTION.retentionHours * HOUR_MS,
      );
      const last = dropped.at(-1);
      if (last !== undefined) this.floors.set(channel, last.position);
    }
    return before - this.entries.filter(({ position }) => this.#isKept(position)).length;
  }

  #isKept(position: number): boolean {
    const entry = this.entries[position - 1];
    return entry !== undefined && channelsOf(entry).some((channel) => position > this.floorOf(channel));
  }
}

/** Entries without a channel share one unnamed channel. */
function channelsOf({ channels }: Entry): readonly string[] {
  return channels.length === 0 ? [""] : channels;
}

const cameraChannels = ["camera:a", "camera:b", "camera:c"];
const channelsArbitrary = fc.constantFrom(
  ["camera:a", "dashboard"],
  ["camera:b", "dashboard"],
  ["alerts", "camera:c", "dashboard"],
  ["jobs"],
  [],
);

const messageArbitrary = fc
  .record({
    channels: channelsArbitrary,
    kind: fc.constantFrom("event", "event", "set", "clear"),
    topic: fc.integer({ min: 0, max: 3 }),
    origin: fc.oneof(
      fc.record({
        sender: fc.constantFrom("a", "b"),
        id: fc.constant("i"),
        session: fc.constant("s"),
        seq: fc.nat(40),
      }),
      fc.record({ sender: fc.constantFrom("a", "b"), id: fc.constantFrom("x", "y", "z", "ü") }),
      fc.constant({ sender: "a" }),
    ),
    isOpen: fc.boolean(),
  })
  .map(({ channels, kind, topic, origin, isOpen }): JournalMessage => {
    const body = message().body;
    const publication = isOpen ? { payload: Buffer.from(body), qos: 1 as const, retain: kind === "set" } : undefined;
    return {
      topic: kind === "event" ? `events/${topic}` : `state/${channels.join("-")}/${topic}`,
      channels,
      camera: undefined,
      body,
      state: kind === "set" || kind === "clear" ? kind : undefined,
      origin: { id: undefined, session: undefined, seq: undefined, ...origin },
      publish: publication,
      open: publication,
    };
  });

const operationArbitrary = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("append" as const),
      messages: fc.array(messageArbitrary, { minLength: 1, maxLength: 45 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("replay" as const),
      channels: fc.subarray(["dashboard", "alerts", "jobs", ...cameraChannels]),
      after: fc.nat(200),
      until: fc.nat(250),
      maxEvents: fc.integer({ min: 1, max: 20 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("trim" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), hours: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("deliver" as const), positions: fc.array(fc.nat(200)) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("reopen" as const) }) },
);

type Operation = typeof operationArbitrary extends fc.Arbitrary<infer Value> ? Value : never;

/** Compares a journal with the model after every step of random sequences. */
export function describeAgainstModel(createPlace: () => Promise<JournalPlace>): void {
  test("the journal behaves like a simple model in memory, for random operations", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operationArbitrary, { maxLength: 20 }), async (operations) => {
        const place = await createPlace();
        try {
          await compare(place, operations);
        } finally {
          await place.dispose();
        }
      }),
      { numRuns: 60 },
    );
  });
}

async function compare(place: JournalPlace, operations: readonly Operation[]): Promise<void> {
  const model = new Model();
  const clock = { now: 1_000 * HOUR_MS };
  const open = () => place.open({ ...RETENTION, now: () => clock.now });
  let journal = await open();
  for (const operation of operations) {
    switch (operation.do) {
      case "append": {
        const appended = await Promise.all(operation.messages.map((one) => journal.append(one)));
        for (const [index, one] of operation.messages.entries())
          model.append(one, clock.now, appended[index] ?? { position: undefined, duplicate: true });
        break;
      }
      case "replay": {
        const { channels, after, until, maxEvents } = operation;
        const entries = await readAll(journal, channels, { after, until, maxEvents });
        expect(entries).toEqual(model.replay(channels, after, until));
        break;
      }
      case "trim":
        expect(await journal.trim()).toBe(model.trim(clock.now));
        break;
      case "wait":
        clock.now += operation.hours * HOUR_MS;
        break;
      case "deliver":
        for (const position of operation.positions) {
          journal.finished(position);
          model.undelivered.delete(position);
        }
        break;
      case "reopen": {
        const { epoch } = journal;
        journal = await open();
        expect(journal.epoch).toBe(epoch);
        await compareUndelivered(journal, model);
        break;
      }
    }
    compareState(journal, model);
  }
}

function compareState(journal: Journal, model: Model): void {
  expect(journal.head).toBe(model.head);
  for (const channel of ["dashboard", "alerts", "jobs", ...cameraChannels]) {
    expect(positions(journal.snapshot(channel))).toEqual(model.stateOf(channel));
    const floor = model.floorOf(channel);
    for (const position of [0, floor - 1, floor, model.head]) {
      const { complete } = journal.recovery(channel, { epoch: journal.epoch, position });
      expect(complete).toBe(position >= floor);
    }
  }
}

/** Checks that all undelivered messages are returned in order, and no message that never was open. */
async function compareUndelivered(journal: Journal, model: Model): Promise<void> {
  const found: number[] = [];
  for await (const { position, payload } of journal.unfinished()) {
    found.push(position);
    expect(Buffer.from(payload).toString()).toBe(model.entries[position - 1]?.body);
  }
  expect(found).toEqual([...found].sort((a, b) => a - b));
  expect(found.filter((position) => model.undelivered.has(position))).toEqual([...model.undelivered]);
  expect(found.every((position) => model.opened.has(position))).toBe(true);
}
