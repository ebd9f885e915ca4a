import { expect, it } from "vitest";
import { SECRET, startTestBroker } from "../broker-under-test.ts";

const NORTH = { username: "north", password: SECRET } as const;

it("the broker logs why a client disconnected", async () => {
  const test = await startTestBroker();
  await test.devices.set({ id: "north", kind: "camera", secret: SECRET });
  const reasons = () => test.log.filter(({ msg }) => msg === "client disconnected").map(({ why }) => why);
  const left = async (count: number) => await expect.poll(() => reasons().length).toBe(count);

  await (await test.client({ ...NORTH, clientId: "one" })).endAsync();
  await left(1);
  (await test.client({ ...NORTH, clientId: "one" })).stream.destroy();
  await left(2);
  await test.client({ ...NORTH, clientId: "one" });
  await test.client({ ...NORTH, clientId: "one" });
  await left(3);
  await test.devices.remove("north");
  await left(4);
  expect(reasons()).toEqual([
    "it sent DISCONNECT",
    "its connection was closed without DISCONNECT",
    "it has connected again under the same client id",
    "its token or secret was revoked, removed or changed",
  ]);
});

it("the broker reports the number and reason of a registered device's refusals until the device connects", async () => {
  const test = await startTestBroker();
  await test.devices.set({ id: "north", kind: "camera", secret: SECRET });
  for (let times = 0; times < 3; times++)
    await expect(test.client({ username: "north", password: "wrong" })).rejects.toThrow();
  await expect(test.client({ username: "nobody", password: "wrong" })).rejects.toThrow();
  expect(test.broker.stats().refusedDevices).toEqual([
    {
      ...{ id: "north", times: 3, address: "127.0.0.1", last_refused: expect.any(String) },
      why: "unknown device or wrong secret",
    },
  ]);
  await test.client(NORTH);
  expect(test.broker.stats().refusedDevices).toEqual([]);
});
