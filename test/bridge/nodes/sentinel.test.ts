import { pino } from "pino";
import { expect, it, onTestFinished, vi } from "vitest";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startRedis } from "../../support/redis.ts";
import { startSentinel } from "../../support/redis-sentinel.ts";
import { startTestBridge } from "../support/test-bridge.ts";
import { connect } from "../websocket/client.ts";

const EVENT = "cameras/north/events/capture.completed";

it("the bridge continues the journal on the replica when the Redis master dies, and keeps dashboards connected", async () => {
  const master = await startRedis();
  onTestFinished(() => master.remove());
  const replica = await startRedis({ args: ["--replicaof", "127.0.0.1", String(master.port)] });
  onTestFinished(() => replica.remove());
  const sentinel = await startSentinel(master.port);
  onTestFinished(() => sentinel.stop());
  const access = openRedis({ url: sentinel.url, prefix: "failover", logger: pino({ level: "silent" }) });
  const bridge = await startTestBridge({ redis: { access } });
  onTestFinished(async () => {
    await bridge.stop();
    await access.close();
  });
  const dashboard = await connect(`ws://127.0.0.1:${bridge.port}/ws`, bridge.mint("camera:read"));
  const { epoch } = await dashboard.subscribe("camera:north");
  for (let n = 1; n <= 20; n++) await bridge.say(EVENT, { n });
  await sentinel.knowsReplica();

  await master.stop("SIGKILL");
  // A camera sends each message again until it is acknowledged.
  for (let n = 21; n <= 40; n++) await vi.waitFor(() => bridge.say(EVENT, { n }), { interval: 100 });

  const received: unknown[] = [];
  while (received.length < 40)
    received.push((await dashboard.next("dashboard_event", ({ event }) => event === "capture.completed")).data);
  expect(received).toEqual(Array.from({ length: 40 }, (_, index) => ({ n: index + 1 })));
  expect(bridge.journal.epoch).toBe(epoch);
});
