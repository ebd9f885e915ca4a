import { afterAll, beforeAll, expect, it } from "vitest";
import { inboxOf } from "../broker/broker-under-test.ts";
import { type Program, ROOT, startProgram } from "./mqtt-program.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

it("an MQTT client narrowed to one camera gets no jobs and broadcasts about other cameras", async () => {
  const narrowed = await program.client(["dashboard:read", "jobs:read", "camera:north:read"]);
  const inbox = inboxOf(narrowed);
  await narrowed.subscribeAsync(`${ROOT}/processing/#`, { qos: 1 });
  await narrowed.subscribeAsync(`${ROOT}/channels/dashboard/#`, { qos: 1 });
  const stacker = await program.client("stacker");
  const envelope = { v: 1, id: "e1", timestamp: "2026-03-01T06:30:00Z", event: "job.progress" };
  const job = (name: string, body: object) =>
    stacker.publishAsync(`${ROOT}/processing/stacker/jobs/${name}`, JSON.stringify(body), { qos: 1 });
  await job("bare", { status: "queued", camera: "south" });
  await job("enveloped", { ...envelope, data: { status: "queued", camera: "south" } });
  const announcer = await program.client(["broadcast:write"]);
  const announce = (body: object) =>
    announcer.publishAsync(`${ROOT}/channels/dashboard/events/visit.planned`, JSON.stringify(body), { qos: 1 });
  await announce({ camera: "south" });
  await announce({ camera: "north" });
  await job("own", { status: "queued", camera: "north" });
  await inbox.has(2);
  expect(inbox.messages.map(({ payload }) => JSON.parse(payload).camera)).toEqual(["north", "north"]);
});
