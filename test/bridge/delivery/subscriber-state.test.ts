import { describe, expect, it } from "vitest";
import { NO_CHANNELS } from "../../../bridge/delivery/channel-filter.ts";
import { SubscriberGroup } from "../../../bridge/delivery/subscriber-group.ts";
import {
  type Behind,
  IDLE,
  type SubscriberEvent,
  type SubscriberState,
  transition,
} from "../../../bridge/delivery/subscriber-state.ts";

type Kind = SubscriberState["kind"];

const sink = {
  names: { connection: "a", user: undefined },
  socket: { write: () => true, writableLength: 0 },
  open: true,
  blocked: false,
};
const calls = { write: () => {}, send: () => {}, close: () => {} };
const member = new SubscriberGroup(NO_CHANNELS, 1_000).add({ sink: { ...sink, ...calls }, fallBehind: () => {} });

const behind = (kind: Behind["kind"]): Behind => ({
  ...{ kind, cursor: 3, announce: new Set(["dashboard"]) },
  tasks: [{ kind: "range", channel: "dashboard", after: 1, until: 3 }],
});
const states: Record<Kind, SubscriberState> = {
  idle: IDLE,
  backfilling: behind("backfilling"),
  lagging: behind("lagging"),
  live: { kind: "live", member },
};
const events: Record<string, SubscriberEvent> = {
  interrupted: { kind: "interrupted", cursor: 7 },
  "continued with channels": { kind: "continued", hasChannels: true },
  "continued without channels": { kind: "continued", hasChannels: false },
  "fell behind": { kind: "fell behind", cursor: 7 },
  joined: { kind: "joined", member },
  replaced: { kind: "replaced", cursor: 7 },
};

/** For each event and each state: the state after the event. */
const expected: Record<keyof typeof events, Record<Kind, Kind>> = {
  interrupted: { idle: "backfilling", backfilling: "backfilling", lagging: "lagging", live: "backfilling" },
  "continued with channels": { idle: "idle", backfilling: "backfilling", lagging: "lagging", live: "live" },
  "continued without channels": { idle: "idle", backfilling: "idle", lagging: "idle", live: "live" },
  "fell behind": { idle: "idle", backfilling: "backfilling", lagging: "lagging", live: "lagging" },
  joined: { idle: "idle", backfilling: "live", lagging: "live", live: "live" },
  replaced: { idle: "idle", backfilling: "backfilling", lagging: "backfilling", live: "live" },
};

describe.each(Object.entries(expected))("a subscriber, when %s", (name, kinds) => {
  it.each(Object.entries(kinds))("changes from %s to %s", (from, to) => {
    const event = events[name];
    const state = Object.values(states).find(({ kind }) => kind === from);
    expect(event && state && transition(state, event).kind).toBe(to);
  });
});

it("a subscriber keeps its cursor and tasks when it is interrupted while lagging", () => {
  expect(transition(states.lagging, { kind: "interrupted", cursor: 7 })).toBe(states.lagging);
});

it("a subscriber drops the tasks of the former journal when the journal is replaced", () => {
  const state = transition(states.lagging, { kind: "replaced", cursor: 7 });
  expect(state).toEqual({ kind: "backfilling", cursor: 7, tasks: [], announce: new Set() });
});
