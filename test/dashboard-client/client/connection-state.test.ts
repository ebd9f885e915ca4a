import { describe, expect, it } from "vitest";
import {
  type ConnectionEvent,
  type ConnectionState,
  transition,
} from "../../../dashboard-client/client/connection-state.ts";

const cause = { code: 1006, reason: "gone" };
const session = { connectionId: "c", userId: "alice", permissions: [], tokenExpiresAt: 5000 };
const disconnected = { status: "disconnected", since: 1, cause: undefined } as const;
const connecting = { status: "connecting", since: 1, failures: 0, retryAt: undefined, cause: undefined } as const;

const STATES = {
  new: { ...disconnected, reason: "new" },
  stopped: { ...disconnected, reason: "stopped" },
  closed: { ...disconnected, reason: "closed" },
  waiting: { ...connecting, phase: "waiting", retryAt: 9 },
  token: { ...connecting, phase: "token" },
  opening: { ...connecting, phase: "opening" },
  authenticating: { ...connecting, phase: "authenticating" },
  connected: { status: "connected", since: 1, session },
} satisfies Record<string, ConnectionState>;
type Name = keyof typeof STATES;

const EVENTS = {
  start: { type: "start" },
  attempt: { type: "attempt" },
  token: { type: "token" },
  open: { type: "open" },
  authenticated: { type: "authenticated", session: { ...session, connectionId: "d" } },
  lost: { type: "lost", cause, retryAt: 50 },
  lostForGood: { type: "lost", cause, retryAt: undefined },
  close: { type: "close" },
} satisfies Record<string, ConnectionEvent>;

/**
 * The next state for every state and event, or `same` for the same object. The compiler checks that no combination is
 * missing.
 */
const TABLE: Record<Name, Record<keyof typeof EVENTS, Name | "same">> = {
  new: {
    start: "token",
    attempt: "same",
    token: "same",
    open: "same",
    authenticated: "same",
    lost: "same",
    lostForGood: "same",
    close: "closed",
  },
  stopped: {
    start: "token",
    attempt: "same",
    token: "same",
    open: "same",
    authenticated: "same",
    lost: "same",
    lostForGood: "same",
    close: "closed",
  },
  closed: {
    start: "same",
    attempt: "same",
    token: "same",
    open: "same",
    authenticated: "same",
    lost: "same",
    lostForGood: "same",
    close: "same",
  },
  waiting: {
    start: "same",
    attempt: "token",
    token: "same",
    open: "same",
    authenticated: "same",
    lost: "same",
    lostForGood: "same",
    close: "closed",
  },
  token: {
    start: "same",
    attempt: "same",
    token: "opening",
    open: "same",
    authenticated: "same",
    lost: "waiting",
    lostForGood: "stopped",
    close: "closed",
  },
  opening: {
    start: "same",
    attempt: "same",
    token: "same",
    open: "authenticating",
    authenticated: "same",
    lost: "waiting",
    lostForGood: "stopped",
    close: "closed",
  },
  authenticating: {
    start: "same",
    attempt: "same",
    token: "same",
    open: "same",
    authenticated: "connected",
    lost: "waiting",
    lostForGood: "stopped",
    close: "closed",
  },
  connected: {
    start: "same",
    attempt: "same",
    token: "same",
    open: "same",
    authenticated: "connected",
    lost: "waiting",
    lostForGood: "stopped",
    close: "closed",
  },
};

function nameOf(state: ConnectionState): string {
  if (state.status === "disconnected") return state.reason;
  return state.status === "connecting" ? state.phase : state.status;
}

const rows = Object.entries(TABLE).flatMap(([state, row]) =>
  Object.entries(row).map(([event, expected]) => ({ state, event, expected })),
);

describe("the transition of the connection", () => {
  it.each(rows)("$state, $event: $expected", ({ state, event, expected }) => {
    const before: ConnectionState = STATES[state as Name];
    const after = transition(before, EVENTS[event as keyof typeof EVENTS], 100);
    if (expected === "same") expect(after).toBe(before);
    else {
      expect(after).not.toBe(before);
      expect(nameOf(after)).toBe(expected);
    }
  });

  it("keeps the time of the loss and counts failures until the client is connected", () => {
    const lost = transition(STATES.connected, EVENTS.lost, 100);
    expect(lost).toMatchObject({ since: 100, failures: 1, retryAt: 50, cause });
    const again = transition(transition(lost, EVENTS.attempt, 200), EVENTS.lost, 300);
    expect(again).toMatchObject({ since: 100, failures: 2 });
  });

  it("keeps the connection's start time if only the token is renewed", () => {
    const renewed = transition(STATES.connected, EVENTS.authenticated, 100);
    expect(renewed).toMatchObject({ since: 1, session: { connectionId: "d" } });
  });
});
