import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { type DeviceStore, openDevices } from "../../../../bridge/auth/devices.ts";
import { watchDesiredStates } from "../../../../bridge/cameras/desired/desired.ts";
import { DESIRED, type DesiredStates, desiredStates } from "../../../../bridge/cameras/desired/desired-store.ts";
import { agrees } from "../../../../bridge/cameras/desired/desired-view.ts";
import type { CommandRunner } from "../../../../bridge/commands/command-relay.ts";
import type { CommandUpdate } from "../../../../bridge/commands/pending-commands.ts";
import { ReplyCode } from "../../../../contract/codes.ts";
import { desiredStateSchema } from "../../../../contract/desired.ts";
import { envelope, type Fixture, logger, openFixture, START, tree, useFakeClock } from "../watcher-fixture.ts";

const MORNING = { entries: [{ kind: "clock", start: "06:00", end: "09:00", interval_s: 60 }] };
const NEVER = { entries: [] };
const SETTLED_MS = 5_000;
const RETRIED_MS = 80_000;

let fixture: Fixture;
let devices: DeviceStore;
let desired: DesiredStates;
let watcher: { stop(): Promise<void> };
/** The commands that were sent, and how the camera answers the next ones. */
let sent: { id: string; name: string; args: unknown; who: string }[];
let answers: Pick<CommandUpdate, "status" | "error" | "code">[];

beforeEach(async () => {
  useFakeClock();
  fixture = await openFixture();
  sent = [];
  answers = [];
  await start();
});
afterEach(stop);

async function start(): Promise<void> {
  const { journal, cluster, ingest } = fixture;
  const { documents } = cluster;
  devices = await openDevices({ documents, logger });
  desired = desiredStates(documents);
  const run: CommandRunner["run"] = ({ id = "", camera, name, args, from }, onUpdate) => {
    sent.push({ id, name, args, who: from.who });
    const answer = answers.shift();
    if (answer !== undefined) onUpdate({ command_id: id, camera, ...answer });
  };
  const publish = ingest.publish.bind(ingest);
  watcher = await watchDesiredStates({ journal, tree, publish, documents, devices, run, logger });
}

async function stop(): Promise<void> {
  await watcher.stop();
  devices.stop();
}

/** Documents and publications take several turns of the event loop. */
async function pass(ms = 0): Promise<void> {
  for (let passed = 0; passed <= ms; passed += 1_000) {
    vi.advanceTimersByTime(Math.min(1_000, ms - passed));
    await fixture.settled();
  }
}

const presence = (status: string, session: string) =>
  fixture.ingest.publish({
    ...{ topic: { kind: "camera-state", camera: "north", name: "presence" }, event: `camera.${status}`, retain: true },
    data: { status, since: new Date(START).toISOString(), session },
  });
const report = (data: unknown, session = "s1") =>
  fixture.accept("cameras/north/state/schedule", envelope("schedule.updated", data, { session }), { retain: true });

/** The camera connects, and reports its schedule. */
async function connect(session: string, schedule: object): Promise<void> {
  const link = envelope("camera.online", { status: "online", session }, { session });
  await fixture.accept("cameras/north/link", link, { retain: true });
  await presence("online", session);
  await report(schedule, session);
  await pass(SETTLED_MS);
}

function shown() {
  const data = fixture.published("cameras/north/state/desired").at(-1)?.data;
  return desiredStateSchema.parse(data ?? {}).schedule;
}

it("sends a new version once, and calls it applied when the camera reports it", async () => {
  await connect("s1", NEVER);
  answers = [{ status: "succeeded" }];
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => sent).toMatchObject([{ name: "schedule.set", args: MORNING, who: "user:alice" }]);
  await report(MORNING);
  await pass(RETRIED_MS);
  await expect.poll(shown).toMatchObject({ version: 1, status: "applied" });
  expect(shown()?.differs_since).toBeUndefined();
  expect(sent).toHaveLength(1);
});

it("sends nothing to a camera that has the schedule already", async () => {
  await connect("s1", MORNING);
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => shown()?.status).toBe("applied");
  await pass(RETRIED_MS);
  expect(sent).toEqual([]);
});

it("repeats a command without an outcome with the same id, so that the camera executes it once", async () => {
  await connect("s1", NEVER);
  answers = [{ status: "timed_out", code: ReplyCode.commandTimeout }];
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => sent).toHaveLength(1);
  await expect
    .poll(shown)
    .toMatchObject({ status: "pending", differs_since: new Date(START + SETTLED_MS).toISOString() });
  await pass(RETRIED_MS);
  await expect.poll(() => sent).toHaveLength(2);
  expect(sent[1]?.id).toBe(sent[0]?.id);
});

it("sends at once after a birth what was not sent while the camera was not connected", async () => {
  await connect("s1", NEVER);
  answers = [{ status: "failed", code: ReplyCode.deviceOffline }, { status: "succeeded" }];
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => sent).toHaveLength(1);
  await connect("s2", NEVER);
  await expect.poll(() => sent).toHaveLength(2);
  expect(sent[1]?.id).toBe(sent[0]?.id);
});

it("tries again after a few seconds when the server could not send", async () => {
  await connect("s1", NEVER);
  answers = [{ status: "failed", code: ReplyCode.storeUnavailable }, { status: "succeeded" }];
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => sent).toHaveLength(1);
  await pass(12_000);
  await expect.poll(() => sent).toHaveLength(2);
});

it("tries a refused version again only in the camera's next session, and with a new id", async () => {
  await connect("s1", NEVER);
  answers = [{ status: "failed", error: "another program takes the pictures" }];
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => shown()?.status).toBe("failed");
  expect(shown()?.error).toBe("another program takes the pictures");
  await connect("s1", NEVER);
  await pass(RETRIED_MS);
  expect(sent).toHaveLength(1);
  await connect("s2", NEVER);
  await expect.poll(() => sent).toHaveLength(2);
  expect(sent[1]?.id).not.toBe(sent[0]?.id);
});

it("shows since when a camera differs, survives a restart, and corrects the camera at its next birth", async () => {
  await connect("s1", MORNING);
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => shown()?.status).toBe("applied");
  await report(NEVER);
  await expect.poll(() => shown()?.status).toBe("differs");
  const since = shown()?.differs_since;
  await pass(RETRIED_MS);
  expect(sent).toEqual([]);
  await stop();
  await fixture.restart();
  await start();
  await connect("s2", NEVER);
  await expect.poll(() => sent).toHaveLength(1);
  const { journal } = fixture;
  const state = journal.state(`${tree.root}/cameras/north/state/desired`);
  expect(JSON.parse(`{${state?.body}}`).data.schedule).toMatchObject({ status: "differs", differs_since: since });
});

it("does not let an earlier command replace what somebody wanted after it was issued", async () => {
  const command = { id: "1", camera: "north", name: "schedule.set", args: NEVER, by: "user:bob" };
  await desired.set("north", "schedule", MORNING, "user:alice");
  await desired.adopt({ ...command, issuedAt: START - 1 });
  await expect.poll(shown).toMatchObject({ version: 1, value: MORNING });
  await desired.adopt({ ...command, issuedAt: START + 1 });
  await expect.poll(shown).toMatchObject({ version: 2, value: NEVER, by: "user:bob" });
});

it("removes what is desired together with the camera, also if nobody watched", async () => {
  const { documents } = fixture.cluster;
  await devices.add({ id: "north", kind: "camera", credential: {} });
  await desired.set("north", "schedule", MORNING, "user:alice");
  await expect.poll(() => shown()?.version).toBe(1);
  await devices.remove("north");
  await presence("offline", "s1");
  const topic = { kind: "camera-state", camera: "north", name: "presence" } as const;
  await fixture.ingest.publish({ topic, event: "state.cleared", data: null, retain: true });
  await expect.poll(() => documents.get(DESIRED, "north")).toBeUndefined();

  await stop();
  await desired.set("south", "schedule", MORNING, "user:alice");
  await start();
  await expect.poll(() => documents.get(DESIRED, "south")).toBeUndefined();
});

it.each([
  ["schedule", MORNING, { ...MORNING, cause: { kind: "restart" } }, true],
  ["schedule", MORNING, NEVER, false],
  ["schedule", MORNING, undefined, undefined],
  ["settings", { iso: 400 }, { iso: 400, quality: 90 }, true],
  ["settings", { iso: null, hdr: false }, { hdr: false }, true],
  ["settings", { iso: null }, { iso: 400 }, false],
] as const)("compares the %s %j with the report %j: %s", (name, value, reported, expected) => {
  expect(agrees(name, value, reported)).toBe(expected);
});
