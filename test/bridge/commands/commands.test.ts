import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type CommandRelay,
  type CommandRelayOptions,
  startCommandRelay,
} from "../../../bridge/commands/command-relay.ts";
import type { CommandUpdate } from "../../../bridge/commands/pending-commands.ts";
import { ReplyCode } from "../../../contract/codes.ts";
import { commandSchema } from "../../../contract/commands.ts";
import { topicTree } from "../../../contract/topics.ts";
import { type MemoryJournal, memoryJournal } from "../support/memory-journal.ts";
import { type RecordingLink, recordingLink } from "../support/recording-link.ts";

const tree = topicTree();
const NORTH = "device:north";
const START = Date.parse("2026-03-01T06:30:00.000Z");

let journal: MemoryJournal;
let link: RecordingLink;
let sleeping: Set<string>;
let relay: CommandRelay;

beforeEach(() => {
  vi.useFakeTimers({ now: START });
  journal = memoryJournal(tree);
  link = recordingLink();
  link.connections.add(NORTH);
  sleeping = new Set();
  relay = start();
});
afterEach(() => {
  relay.stop();
  vi.useRealTimers();
});

const FROM = { who: "user:alice", address: "127.0.0.1" };

function start(more: Partial<CommandRelayOptions> = {}): CommandRelay {
  const logger = pino({ level: "silent" });
  return startCommandRelay({ link, journal, tree, isSleeping: (camera) => sleeping.has(camera), logger, ...more });
}

function run(
  name = "capture.now",
  args: Record<string, unknown> = {},
  camera = "north",
  expires_in = 30,
): CommandUpdate[] {
  const updates: CommandUpdate[] = [];
  relay.run({ camera, name, args, expires_in, from: FROM }, (update) => updates.push(update));
  return updates;
}

/** The last published command. */
function sent() {
  const publication = link.publications.at(-1);
  if (publication === undefined) throw new Error("no command was published");
  return { ...publication, command: commandSchema.parse(JSON.parse(publication.payload.toString())) };
}

function acknowledge(identity = NORTH): void {
  const { topic, payload } = sent();
  link.deliver({ identity, topic, payload });
}

function reply(status: string, more: object = {}, command_id = sent().command.id): void {
  journal.receive({ kind: "camera-reply", camera: "north", command: "capture.now" }, { command_id, status, ...more });
}

const statuses = (updates: CommandUpdate[]) => updates.map(({ status }) => status);

describe("a command", () => {
  it("is published with QoS 1, not retained, with its sender and its expiry", () => {
    run("settings.set", { iso: 200 });
    expect(sent()).toMatchObject({ topic: "skylapse/v1/cameras/north/commands/settings.set", qos: 1, retain: false });
    expect(sent().command).toEqual({
      id: expect.stringMatching(/^[0-9A-Z]{26}$/),
      name: "settings.set",
      args: { iso: 200 },
      issued_by: "user:alice",
      issued_at: new Date(START).toISOString(),
      expires_at: new Date(START + 30_000).toISOString(),
    });
  });

  it("is sent, delivered, accepted and succeeds, and reports each status once, under one id", () => {
    const updates = run();
    acknowledge();
    acknowledge();
    reply("accepted");
    reply("accepted");
    reply("succeeded", { result: { capture: "c1" } });
    reply("failed");
    expect(statuses(updates)).toEqual(["sent", "delivered", "accepted", "succeeded"]);
    expect(updates.at(-1)).toEqual({
      command_id: sent().command.id,
      camera: "north",
      status: "succeeded",
      result: { capture: "c1" },
    });
    expect(new Set(updates.map(({ command_id }) => command_id)).size).toBe(1);
  });

  it("fails with the camera's error when the camera replies `failed`", () => {
    const updates = run();
    acknowledge();
    reply("failed", { error: "lens cap" });
    expect(updates.at(-1)).toMatchObject({ status: "failed", error: "lens cap" });
    expect(updates.at(-1)).not.toHaveProperty("code");
  });

  it("ends as unknown when the camera does not know the outcome", () => {
    const updates = run();
    reply("accepted");
    reply("unknown", { error: "the camera restarted while it was under way" });
    reply("succeeded");
    expect(updates.at(-1)).toMatchObject({ status: "unknown", error: "the camera restarted while it was under way" });
  });

  it("is rejected with 122 when the camera replies `rejected`", () => {
    const updates = run("heater.on");
    reply("rejected", { error: "unknown command" });
    expect(updates.at(-1)).toMatchObject({ status: "rejected", code: ReplyCode.commandRejected });
  });

  it("is regarded as delivered when the reply arrives before the acknowledgement", () => {
    const updates = run();
    reply("accepted");
    acknowledge();
    expect(statuses(updates)).toEqual(["sent", "delivered", "accepted"]);
  });

  it("times out with 121 when it is delivered and no final reply arrives by expires_at", () => {
    const updates = run();
    acknowledge();
    reply("accepted");
    vi.advanceTimersByTime(29_999);
    expect(statuses(updates)).toEqual(["sent", "delivered", "accepted"]);
    vi.advanceTimersByTime(1);
    expect(updates.at(-1)).toMatchObject({ status: "timed_out", code: ReplyCode.commandTimeout });
  });

  it("expires with 123 when it is sent and never acknowledged", () => {
    const updates = run();
    vi.advanceTimersByTime(30_000);
    expect(updates.at(-1)).toMatchObject({ status: "expired", code: ReplyCode.commandExpired });
    // The camera may have received the command: only the acknowledgement is missing.
    expect(updates.at(-1)?.error).toMatch(
      /did not acknowledge the command in time: it may or may not have received it/,
    );
    expect(statuses(updates)).not.toContain("delivered");
  });

  it("is published again at each birth of the camera until it is acknowledged, and is reported once", () => {
    const updates = run();
    const publishLink = (status: string) =>
      journal.receive({ kind: "camera-link", camera: "north" }, { status, session: "s1" }, { retain: true });
    publishLink("offline");
    expect(link.publications).toHaveLength(1);
    publishLink("online");
    expect(link.publications).toHaveLength(2);
    expect(link.publications[1]).toEqual(link.publications[0]);
    acknowledge();
    publishLink("online");
    expect(link.publications).toHaveLength(2);
    reply("succeeded");
    publishLink("online");
    expect(link.publications).toHaveLength(2);
    expect(statuses(updates)).toEqual(["sent", "delivered", "succeeded"]);
  });

  it("fails with 100 when the broker does not accept the command", async () => {
    link.failure = new Error("broker stopped");
    const updates = run();
    await vi.advanceTimersByTimeAsync(0);
    expect(updates.at(-1)).toMatchObject({ status: "failed", code: ReplyCode.internal });
  });

  it("is not regarded as delivered when only a subscribed administrator acknowledges it", () => {
    const updates = run();
    acknowledge("user:root");
    expect(statuses(updates)).toEqual(["sent"]);
  });
});

describe("a command that is not sent", () => {
  it("fails at once with 120 when the camera is not connected", () => {
    link.connections.clear();
    expect(run()).toMatchObject([{ status: "failed", code: ReplyCode.deviceOffline, camera: "north" }]);
    expect(run("capture.now", {}, "unknown")).toMatchObject([{ code: ReplyCode.deviceOffline }]);
    expect(link.publications).toEqual([]);
  });

  it.each([
    ["capture.now", { when: "now" }],
    ["settings.set", {}],
    ["settings.set", { iso: -1 }],
    ["settings.set", { zoom: 2 }],
    ["schedule.set", { entries: [{ kind: "clock", start: "25:00", end: "06:00", interval_s: 5 }] }],
    ["reboot", { force: true }],
  ])("%s %j is rejected with 107", (name, args) => {
    expect(run(name, args)).toMatchObject([
      { status: "rejected", code: ReplyCode.badRequest, error: expect.stringContaining(name) },
    ]);
    expect(link.publications).toEqual([]);
  });

  it("is never one with a name outside the contract: the camera itself checks such a command", () => {
    run("heater.on", { watts: 5 });
    expect(sent().command).toMatchObject({ name: "heater.on", args: { watts: 5 } });
    run("constructor", { x: 1 });
    expect(link.publications).toHaveLength(1);
    reply("succeeded");
    expect(sent().command.name).toBe("constructor");
  });
});

describe("commands of one camera", () => {
  it("are sent one at a time, in order, each after the end of the previous command", () => {
    const [first, second, third] = [run("capture.now"), run("reboot"), run("heater.on")];
    expect([statuses(first), statuses(second), statuses(third)]).toEqual([["sent"], [], []]);
    reply("succeeded");
    expect(sent().command.name).toBe("reboot");
    vi.advanceTimersByTime(10_000);
    reply("failed");
    expect(statuses(second)).toEqual(["sent", "delivered", "failed"]);
    expect(statuses(third)).toEqual(["sent"]);
  });

  it("do not wait for commands of another camera", () => {
    link.connections.add("device:south");
    run();
    expect(statuses(run("reboot", {}, "south"))).toEqual(["sent"]);
  });

  it("expire with 123 while they wait", () => {
    run("capture.now", {}, "north", 60);
    const waiting = run("reboot", {}, "north", 10);
    vi.advanceTimersByTime(10_000);
    expect(waiting).toMatchObject([{ status: "expired", code: ReplyCode.commandExpired }]);
    expect(waiting[0]?.error).toMatch(/was not sent/);
    reply("succeeded");
    expect(link.publications).toHaveLength(1);
  });

  it("are refused with 106 while 16 commands wait, and accepted again when a command has ended", () => {
    run();
    const waiting = Array.from({ length: 16 }, () => run());
    expect(waiting.flat()).toEqual([]);
    expect(run()).toMatchObject([{ status: "failed", code: ReplyCode.limit }]);
    reply("succeeded");
    expect(run()).toEqual([]);
    expect(relay.stats()).toEqual({ queued: 16, inFlight: 1, lateReplies: 0 });
  });

  it("are refused with 106 when too many commands are pending for all cameras together", () => {
    relay.stop();
    relay = start({ maxPending: 2 });
    link.connections.add("device:south").add("device:west");
    run("reboot", {}, "south");
    run();
    expect(run("reboot", {}, "west")).toMatchObject([{ code: ReplyCode.limit }]);
    reply("succeeded");
    expect(statuses(run("reboot", {}, "west"))).toEqual(["sent"]);
  });

  it("leave no timers and counts behind when all commands have ended", () => {
    for (let count = 0; count < 10; count++) run();
    vi.advanceTimersByTime(30_000);
    expect(relay.stats()).toEqual({ queued: 0, inFlight: 0, lateReplies: 0 });
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a sleeping camera", () => {
  beforeEach(() => {
    link.connections.clear();
    sleeping.add("north");
  });

  it("receives its commands when it wakes up", () => {
    const updates = run("capture.now", {}, "north", 3600);
    vi.advanceTimersByTime(1_800_000);
    expect(updates).toEqual([]);
    link.connections.add(NORTH);
    journal.receive({ kind: "camera-link", camera: "north" }, { status: "online", session: "s2" });
    expect(statuses(updates)).toEqual(["sent"]);
    reply("succeeded");
    expect(statuses(updates)).toEqual(["sent", "delivered", "succeeded"]);
  });

  it("receives no command after the expiry: the command ends with 123", () => {
    const updates = run();
    vi.advanceTimersByTime(30_000);
    expect(updates).toMatchObject([{ status: "expired", code: ReplyCode.commandExpired }]);
  });
});

describe("a late reply", () => {
  it("changes nothing, also when the next command is in flight", () => {
    const first = run();
    const { id } = sent().command;
    vi.advanceTimersByTime(30_000);
    const second = run();
    reply("succeeded", {}, id);
    expect(statuses(first)).toEqual(["sent", "expired"]);
    expect(statuses(second)).toEqual(["sent"]);
    expect(relay.stats().lateReplies).toBe(1);
  });

  it("changes nothing if it comes from another camera or is invalid", () => {
    const updates = run();
    const { id } = sent().command;
    journal.receive(
      { kind: "camera-reply", camera: "south", command: "capture.now" },
      { command_id: id, status: "succeeded" },
    );
    journal.receive(
      { kind: "camera-reply", camera: "north", command: "capture.now" },
      { command_id: id, status: "great" },
    );
    journal.receive({ kind: "camera-reply", camera: "north", command: "capture.now" }, null);
    expect(statuses(updates)).toEqual(["sent"]);
  });
});

describe("a user", () => {
  it("issues at most maxPerMinute commands in a minute, and does not affect other users", () => {
    relay.stop();
    relay = start({ maxPerMinute: 2 });
    const refused = [run(), run(), run()].map((updates) => updates.at(-1)?.code);
    expect(refused).toEqual([undefined, undefined, ReplyCode.rateLimited]);
    const other: CommandUpdate[] = [];
    const from = { who: "user:bob", address: undefined };
    relay.run({ camera: "north", name: "reboot", args: {}, expires_in: 30, from }, (update) => other.push(update));
    expect(other).toEqual([]);
    expect(relay.stats().queued).toBe(2);
  });
});

describe("8,000 unexpected replies of a camera", () => {
  it("are one log line, then one line a minute with their number", () => {
    relay.stop();
    const lines: string[] = [];
    relay = start({ logger: pino({ level: "info" }, { write: (line: string) => lines.push(line) }) });
    link.connections.delete(NORTH);
    for (let n = 0; n < 8_000; n++)
      journal.receive(
        { kind: "camera-reply", camera: "north", command: "x" },
        { command_id: `c${n}`, status: "failed" },
      );
    expect(lines).toHaveLength(1);
    vi.advanceTimersByTime(60_000);
    expect(lines).toHaveLength(2);
    expect(JSON.parse(lines[1] ?? "")).toMatchObject({ camera: "north", times: 7_999 });
  });
});

describe("stopping the relay", () => {
  it("fails the waiting commands, and times out the sent command, because the camera may still run it", () => {
    const inFlight = run();
    const waiting = run();
    relay.stop();
    relay.stop();
    expect(inFlight.at(-1)).toMatchObject({ status: "timed_out" });
    expect(waiting).toMatchObject([{ status: "failed", code: ReplyCode.internal }]);
    expect(run()).toMatchObject([{ status: "failed", code: ReplyCode.internal }]);
    expect(link.publications).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("a caller whose callback throws", () => {
  it("does not affect other callers", () => {
    relay.run({ camera: "north", name: "reboot", args: {}, expires_in: 30, from: FROM }, () => {
      throw new Error("socket closed");
    });
    const updates = run();
    reply("succeeded");
    expect(statuses(updates)).toEqual(["sent"]);
  });
});
