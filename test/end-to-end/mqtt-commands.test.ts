import { afterAll, beforeAll, expect, it } from "vitest";
import { inboxOf } from "../broker/broker-under-test.ts";
import { OPERATOR_KEY, type Program, ROOT, startProgram } from "../security/mqtt-program.ts";
import { signToken } from "../support/dashboard.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

const NORTH = `${ROOT}/cameras/north`;
const FOREVER = "9999-12-31T23:59:59Z";

/** A camera that receives commands and answers none of them. */
async function silentCamera(id: string) {
  const camera = await program.client(id);
  const commands = inboxOf(camera);
  await camera.subscribeAsync(`${ROOT}/cameras/${id}/commands/+`, { qos: 1 });
  return { camera, commands };
}

it("commands over MQTT have the limits of HTTP: one in flight, a bounded queue, a bounded rate, whatever expires_at says", async () => {
  const { camera, commands } = await silentCamera("north");
  const user = await program.client(["camera:control"]);
  const replies = inboxOf(user);
  await user.subscribeAsync(`${NORTH}/replies/+`, { qos: 1 });
  const reboot = (id: string) => JSON.stringify({ id, name: "reboot", args: {}, expires_at: FOREVER });
  for (let n = 0; n < 300; n++)
    await user.publishAsync(`${NORTH}/commands/reboot`, reboot(`r${n}`), { qos: n % 3 === 0 ? 0 : 1 });
  // One command is in flight and 16 wait. The rate allows 60 commands a minute, of which 43 find the queue full. All
  // other commands exceed the rate.
  await replies.has(300 - 17);
  const errors = replies.messages.map(({ payload }) => JSON.parse(payload).data.error);
  expect(errors.filter((text) => /too many commands wait/.test(text))).toHaveLength(60 - 17);
  expect(errors.filter((text) => /more than 60 commands in a minute/.test(text))).toHaveLength(300 - 60);
  expect(commands.messages.map(({ payload }) => JSON.parse(payload).id)).toEqual(["r0"]);

  // The next command is sent when the previous command has ended.
  const end = JSON.stringify({ command_id: "r0", status: "succeeded" });
  await camera.publishAsync(`${NORTH}/replies/reboot`, end, { qos: 1 });
  await commands.has(2);
  const [, second] = commands.messages.map(({ payload }) => JSON.parse(payload));
  expect(second.id).toBe("r1");
  expect(Date.parse(second.expires_at)).toBeLessThanOrEqual(Date.now() + 86_400_000);

  // Commands by HTTP wait in the same queue: after one more command, the queue is full.
  const headers = { authorization: `Bearer ${OPERATOR_KEY}` };
  const byHttp = async () => {
    const body = JSON.stringify({ name: "reboot" });
    const url = `${program.skylapse.http}/cameras/north/commands?wait=0`;
    return (await fetch(url, { method: "POST", headers, body })).status;
  };
  expect([await byHttp(), await byHttp()]).toEqual([202, 429]);
});

it.each([
  ["is not JSON", "reboot now", /is not JSON/],
  ["has invalid arguments", JSON.stringify({ args: { hard: true } }), /reboot/],
  ["has expired", JSON.stringify({ expires_at: "2020-01-01T00:00:00Z" }), /had expired/],
  ["is for a camera that is not connected", "{}", /the camera south is not connected/],
])(
  "the server acknowledges a command that %s, and tells the sender the reason for its failure",
  async (_, payload, error) => {
    const permissions = ["camera:south:control"];
    const user = await program.client(permissions, { username: "eve", password: signToken("eve", permissions) });
    const replies = inboxOf(user);
    await user.subscribeAsync(`${ROOT}/cameras/south/replies/+`, { qos: 1 });
    await user.publishAsync(`${ROOT}/cameras/south/commands/reboot`, payload, { qos: 1 });
    const [reply] = await replies.has(1);
    expect(JSON.parse(reply?.payload ?? "").data.error).toMatch(error);
  },
);
