import { expect, it } from "vitest";
import { connect } from "../websocket/client.ts";
import { startRealtime, tree } from "../websocket/server.ts";

const PLACES = 200;

it("a client that resumes behind a flood gets the gap, the state set within the gap, and all events of other cameras", async () => {
  const { url, token, ingest, journal } = await startRealtime({ retentionEvents: PLACES, sharePercent: 10 });
  const say = (camera: string, topic: "events/a.b" | "state/power", data: unknown) =>
    ingest.accept({
      ...{ identity: `device:${camera}`, topic: `${tree.root}/cameras/${camera}/${topic}`, qos: 1 as const },
      ...{ payload: Buffer.from(JSON.stringify(data)), retain: topic === "state/power" },
    });
  await say("north", "events/a.b", "seen before");
  const since = { epoch: journal.epoch, position: journal.head };
  const quiet: number[] = [];
  for (let round = 0; round < 10; round++) {
    await say(`quiet-${round}`, "events/a.b", round);
    quiet.push(journal.head);
    // The flooding camera sets its state in the middle of the flood, and that event is trimmed with the others.
    if (round === 2) await say("flood", "state/power", { battery_percent: 7 });
    for (let n = 0; n < 100; n++) await say("flood", "events/a.b", n);
  }
  await journal.trim();

  const client = await connect(url, token());
  const result = await client.subscribe("dashboard", since);
  expect(result).toMatchObject({ recovered: false, reason: "trimmed", position: since.position });
  expect(result.gap?.after).toBe(since.position);
  await client.next("caught_up");
  const events = client.dashboardEvents.filter(({ snapshot }) => snapshot !== true);
  const positions = events.map(({ position }) => position);
  expect(positions).toEqual(positions.toSorted((one, other) => one - other));
  expect(events.filter(({ camera }) => camera?.startsWith("quiet")).map(({ position }) => position)).toEqual(quiet);
  // After the gap, nothing is missing.
  const before = result.gap?.before ?? 0;
  expect(positions.filter((position) => position >= before)).toHaveLength(journal.head - before + 1);
  const power = client.dashboardEvents.filter(({ topic }) => topic === "cameras/flood/state/power");
  expect(power).toMatchObject([{ snapshot: true, data: { battery_percent: 7 } }]);

  // Live delivery continues, each event once.
  await say("flood", "events/a.b", "live");
  await expect.poll(() => client.dashboardEvents.at(-1)?.data).toBe("live");
  expect(client.dashboardEvents.filter(({ data }) => data === "live")).toHaveLength(1);
});
