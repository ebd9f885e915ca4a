import { connectAsync } from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const STATE_BYTES = 250_000;
const CAMERAS = 24;
const STATES = 16;

it("the server starts and runs in a heap of 512 MB with the largest allowed amount of retained states", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const env = { JWT_SECRET, MAX_MQTT_BYTES_PER_SECOND: "0", NODE_OPTIONS: "--max-old-space-size=512" };
  const first = await startSkylapse({ dataPath, env });
  onTestFinished(async () => void (await first.end("SIGKILL")));
  const gateway = { username: "gateway", password: signToken("gateway", ["admin"]) };
  const writer = await connectAsync(first.mqtt, gateway);
  // 96 MB of states, of which MAX_RETAINED_BYTES keeps 64 MiB. Quotes and backslashes make each state as large as possible.
  const payload = JSON.stringify({ pad: '"\\'.repeat(STATE_BYTES / 4) });
  for (let camera = 0; camera < CAMERAS; camera++)
    await Promise.all(
      Array.from({ length: STATES }, (_, state) =>
        writer.publishAsync(`skylapse/v1/cameras/c${camera}/state/s${state}`, payload, { qos: 1, retain: true }),
      ),
    );
  await writer.endAsync();
  expect(await first.end()).toBe(0);

  const again = await startSkylapse({ dataPath, env });
  onTestFinished(async () => void (await again.end("SIGKILL")));
  expect((await fetch(`${again.http}/readyz`)).status).toBe(200);
  const reader = await connectAsync(again.mqtt, gateway);
  const retained = new Promise<string>((resolve) => reader.on("message", (topic) => resolve(topic)));
  await reader.subscribeAsync("skylapse/v1/cameras/c0/state/s0", { qos: 1 });
  expect(await retained).toBe("skylapse/v1/cameras/c0/state/s0");
  const headers = { authorization: `Bearer ${signToken("viewer", ["dashboard:read"])}` };
  const listed = await fetch(`${again.http}/cameras?limit=5`, { headers });
  expect(listed.status).toBe(200);
  await reader.endAsync();
  expect(await again.end()).toBe(0);
});
