import { connect, connectAsync, type MqttClient } from "mqtt";
import { expect, it, onTestFinished } from "vitest";
import { inboxOf } from "../broker/broker-under-test.ts";
import { JWT_SECRET, signToken } from "../support/dashboard.ts";
import { addCamera } from "../support/devices.ts";
import { makeDataPath, removeDataPath, startSkylapse } from "../support/skylapse.ts";

const NORTH = "skylapse/v1/cameras/north";

it("after a kill before delivery, the server reports a command as lost to its sender, and does not resend the command", async () => {
  const dataPath = makeDataPath();
  onTestFinished(() => removeDataPath(dataPath));
  const secret = await addCamera(dataPath, "north");
  const env = { JWT_SECRET };
  const first = await startSkylapse({ dataPath, env });
  onTestFinished(async () => void (await first.end("SIGKILL")));
  const open = (url: string, options: object): Promise<MqttClient> =>
    connectAsync(url, { reconnectPeriod: 0, ...options });
  const camera = { clientId: "camera-north", username: "north", password: secret };
  const user = {
    ...{ clientId: "operator", username: "u", clean: false },
    password: signToken("operator", ["camera:control"]),
  };

  const north = await open(first.mqtt, camera);
  const commands = inboxOf(north);
  await north.subscribeAsync(`${NORTH}/commands/+`, { qos: 1 });
  const sender = await open(first.mqtt, user);
  await sender.subscribeAsync(`${NORTH}/replies/+`, { qos: 1 });
  // The camera receives the first command and does not answer, so the second command waits.
  for (const id of ["first", "second"])
    await sender.publishAsync(`${NORTH}/commands/reboot`, JSON.stringify({ id, expires_in: 600 }), { qos: 1 });
  await commands.has(1);
  // The journal records the camera's acknowledgement within 200 ms of the next write.
  const said = await open(first.mqtt, { username: "w", password: signToken("w", ["broadcast:write"]) });
  for (let n = 0; n < 5; n++) {
    await said.publishAsync("skylapse/v1/channels/dashboard/events/hut.opened", "{}", { qos: 1 });
    await new Promise((resolve) => setImmediate(resolve));
  }
  await first.end("SIGKILL");
  for (const client of [north, sender, said]) await client.endAsync(true);

  const again = await startSkylapse({ dataPath, env });
  onTestFinished(async () => void (await again.end("SIGKILL")));
  const back = await open(again.mqtt, camera);
  const reconnected = inboxOf(back);
  await back.subscribeAsync(`${NORTH}/commands/+`, { qos: 1 });
  const heard = connect(again.mqtt, { reconnectPeriod: 0, ...user });
  const replies = inboxOf(heard);
  await expect
    .poll(() => replies.messages.map(({ payload }) => JSON.parse(payload).data))
    .toContainEqual(expect.objectContaining({ command_id: "second", status: "unknown" }));
  // Anything that the server sends arrives before this event.
  const probe = await open(again.mqtt, { ...user, clientId: "probe", clean: true });
  await probe.publishAsync(`${NORTH}/commands/reboot`, JSON.stringify({ id: "third" }), { qos: 1 });
  await reconnected.has(1);
  expect(reconnected.messages.map(({ payload }) => JSON.parse(payload).id)).toEqual(["third"]);
  for (const client of [back, heard, probe]) await client.endAsync(true);
});
