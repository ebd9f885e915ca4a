import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { expect, it, onTestFinished } from "vitest";
import { startTestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

/** A bridge whose disk has lost events 40 to 42 of 80. */
async function startDamaged() {
  const dataPath = await mkdtemp(join(tmpdir(), "bridge-"));
  const bridge = await startTestBridge({ dataPath });
  for (let sent = 0; sent < 80; sent++) await bridge.say("cameras/north/events/capture.completed", { n: sent });
  await bridge.stop();
  const db = new ClassicLevel(join(dataPath, "journal", "log"));
  for (const lost of [40, 41, 42]) await db.del(`m${String(lost).padStart(16, "0")}`);
  await db.close();
  const damaged = await startTestBridge({ dataPath });
  onTestFinished(async () => {
    await damaged.stop();
    await rm(dataPath, { recursive: true });
  });
  const url = `ws://127.0.0.1:${damaged.port}/ws`;
  const token = damaged.mint("dashboard:read", "camera:read");
  return { url, token, epoch: damaged.journal.epoch };
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);

it.each(["dashboard", "camera:north"])(
  "the bridge tells a subscriber of %s which events a damaged disk has lost, and sends all other events",
  async (channel) => {
    const { url, token, epoch } = await startDamaged();
    const first = await connect(url, token);
    // The first reader that reaches the gap finds it, and the server reports it.
    await first.subscribe(channel, { epoch, position: 10 });
    const gap = { after: 39, before: 43 };
    await first.next("subscription_result", ({ recovered }) => recovered === false);
    await first.next("caught_up");
    const seen = first.dashboardEvents.filter(({ snapshot }) => snapshot !== true).map(({ position }) => position);
    // After position 80 come the server's own events, which do not belong to every channel.
    expect(seen.filter((position) => position <= 80)).toEqual([...range(11, 39), ...range(43, 80)]);
    // The server knows the gap now, and reports it to later subscribers at once.
    const second = await connect(url, token);
    expect(await second.subscribe(channel, { epoch, position: 10 })).toMatchObject({
      ...{ success: true, recovered: false, reason: "damaged", gap, position: 10 },
    });
    await second.next("caught_up");
    const behind = await connect(url, token);
    expect(await behind.subscribe(channel, { epoch, position: 42 })).toMatchObject({ recovered: true });
  },
);
