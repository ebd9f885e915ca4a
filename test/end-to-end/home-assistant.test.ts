import { spawn } from "node:child_process";
import { afterAll, beforeAll, expect, it, onTestFinished, vi } from "vitest";
import { z } from "zod";
import { discovered, isAvailable, shown } from "../bridge/cameras/home-assistant/home-assistant-schema.ts";
import { inboxOf } from "../broker/broker-under-test.ts";
import { OPERATOR_KEY, type Program, ROOT, SECRET, startProgram } from "../security/mqtt-program.ts";
import { smallJpeg } from "../support/jpeg.ts";

const CONFIG = "homeassistant/device/skylapse_v1_north/config";
const NORTH = `${ROOT}/cameras/north`;
const PICTURE = smallJpeg("mountains", { bytes: 60_000 });

let program: Program;

beforeAll(async () => {
  program = await startProgram({ HOME_ASSISTANT_DISCOVERY: "on", PRESENCE_GRACE_MS: "300" });
});
afterAll(() => program.stop());

/** The secret of a new integration. */
async function integration(id: string, permissions: readonly string[]): Promise<string> {
  const response = await fetch(`${program.skylapse.http}/integrations`, {
    ...{ method: "POST", headers: { authorization: `Bearer ${OPERATOR_KEY}` } },
    body: JSON.stringify({ id, permissions }),
  });
  return z.object({ secret: z.string() }).parse(await response.json()).secret;
}

function mosquitto(name: "mosquitto_pub" | "mosquitto_sub", id: string, secret: string, ...args: readonly string[]) {
  const child = spawn(name, ["-p", String(program.port), "-u", id, "-P", secret, ...args]);
  onTestFinished(() => void child.kill());
  return child;
}

/** The messages that a client of the integration gets, by topic. Subscribes as Home Assistant does. */
function received(id: string, secret: string, camera: string, version: "311" | "5") {
  const own = ["state", "picture"].map((name) => `${ROOT}/home-assistant/${camera}/${name}`);
  const filters = ["homeassistant/+/+/config", ...own, `${ROOT}/cameras/${camera}/replies/capture.now`];
  const child = mosquitto(
    "mosquitto_sub",
    id,
    secret,
    "-V",
    version,
    "-F",
    "%t %x",
    ...filters.flatMap((filter) => ["-t", filter]),
  );
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const last = (topic: string): Buffer => {
    const lines = output.split("\n").filter((line) => line.startsWith(`${topic} `));
    return Buffer.from(lines.at(-1)?.slice(topic.length + 1) ?? expect.fail(`no message on ${topic}`), "hex");
  };
  return { last, output: () => output };
}

it("Home Assistant discovers a camera, shows its picture, presses its buttons, and sees it go offline", async () => {
  const secret = await integration("home-assistant", ["dashboard:read", "camera:control"]);
  const { last } = received("home-assistant", secret, "north", "5");
  const will = { topic: `${NORTH}/link`, payload: Buffer.from('{"status":"offline","session":"s1"}'), qos: 1 } as const;
  const camera = await program.client("north", { will: { ...will, retain: true }, password: SECRET });
  const commands = inboxOf(camera);
  await camera.subscribeAsync(`${NORTH}/commands/+`, { qos: 1 });
  const retained = { qos: 1, retain: true } as const;
  await camera.publishAsync(`${NORTH}/link`, '{"status":"online","session":"s1"}', retained);
  await camera.publishAsync(`${NORTH}/state/power`, '{"source":"solar","battery_percent":81}', retained);
  await camera.publishAsync(`${NORTH}/previews/c1`, PICTURE, { qos: 1 });

  const entities = () => discovered("homeassistant", CONFIG, last(CONFIG).toString());
  const entity = (name: string) => entities().get(name) ?? expect.fail(`there is no entity ${name}`);
  const state = () => last(`${ROOT}/home-assistant/north/state`).toString();
  await vi.waitFor(() => expect(isAvailable(entity("battery_percent"), state())).toBe(true));
  expect(shown(entity("battery_percent"), state())).toBe("81");
  expect(shown(entity("connected"), state())).toBe("ON");
  const picture = entity("picture");
  if (picture.platform !== "image") expect.fail("the picture is no image");
  await vi.waitFor(() => expect(last(picture.image_topic ?? "")).toEqual(PICTURE));

  const button = entity("capture_now");
  if (button.platform !== "button") expect.fail("capture_now is no button");
  const press = () =>
    mosquitto(
      "mosquitto_pub",
      "home-assistant",
      secret,
      "-q",
      "1",
      "-t",
      button.command_topic,
      "-m",
      button.payload_press,
    );
  press();
  const [command] = await commands.has(1);
  const { id, name, issued_by } = JSON.parse(command?.payload ?? "");
  expect({ name, issued_by }).toEqual({ name: "capture.now", issued_by: "user:home-assistant" });
  const reply = `${NORTH}/replies/capture.now`;
  await camera.publishAsync(reply, JSON.stringify({ command_id: id, status: "succeeded" }), { qos: 1 });
  await vi.waitFor(() => expect(JSON.parse(last(reply).toString())).toMatchObject({ status: "succeeded" }));

  camera.stream.destroy();
  await vi.waitFor(() => expect(isAvailable(button, state())).toBe(false));
  expect([shown(entity("connected"), state()), shown(entity("status"), state())]).toEqual(["OFF", "offline"]);
  expect(isAvailable(picture, state())).toBe(true);
  press();
  await vi.waitFor(() =>
    expect(JSON.parse(last(reply).toString()).data).toMatchObject({
      ...{ status: "failed", error: expect.stringContaining("not connected") },
    }),
  );
});

it("an integration for one camera discovers this camera alone, and its button presses are refused", async () => {
  const secret = await integration("guest", ["camera:south:read"]);
  const camera = await program.client("south");
  const commands = inboxOf(camera);
  await camera.subscribeAsync(`${ROOT}/cameras/south/commands/+`, { qos: 1 });
  await camera.publishAsync(`${ROOT}/cameras/south/link`, '{"status":"online","session":"s1"}', {
    qos: 1,
    retain: true,
  });
  const { last, output } = received("guest", secret, "south", "311");
  await vi.waitFor(() => expect(last(`${ROOT}/home-assistant/south/state`).toString()).toContain('"connected":"ON"'));
  last(CONFIG.replace("north", "south"));
  expect(output()).not.toContain("north");
  const topic = `${ROOT}/cameras/south/commands/reboot`;
  const pressed = mosquitto("mosquitto_pub", "guest", secret, "-q", "1", "-t", topic, "-m", "{}");
  await new Promise((resolve) => pressed.once("close", resolve));
  expect(commands.messages).toEqual([]);
});
