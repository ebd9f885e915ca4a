import { connectAsync } from "mqtt";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Command, commandSchema } from "../../contract/commands.ts";
import { type Inbox, inboxOf } from "../broker/broker-under-test.ts";
import { auditText } from "../support/audit.ts";
import { openDashboard } from "../support/dashboard.ts";
import { OPERATOR_KEY, type Program, ROOT, startProgram } from "./mqtt-program.ts";

const PASSWORD = "correct horse battery";
const COMMAND = `${ROOT}/cameras/north/commands/capture.now`;
/** User names that would equal other identities without the prefix `user:`. */
const NAMES = ["operator", "local", "unknown", "backend", "user:operator", "device:north", "service:stacker"];
let program: Program;
let atNorth: Inbox;

beforeAll(async () => {
  program = await startProgram({ MAX_COMMANDS_PER_CAMERA: "0", MAX_COMMANDS_PER_MINUTE: "0" });
});
afterAll(() => program.stop());
beforeEach(async () => {
  const north = await program.client("north");
  atNorth = inboxOf(north);
  await north.subscribeAsync(`${ROOT}/cameras/north/commands/+`, { qos: 1 });
  return () => north.endAsync();
});

async function post(path: string, body: object, bearer = OPERATOR_KEY): Promise<Response> {
  const headers = { authorization: `Bearer ${bearer}` };
  return await fetch(program.skylapse.http + path, { method: "POST", headers, body: JSON.stringify(body) });
}

async function minted(user_id: string): Promise<string> {
  const permissions = ["camera:control", "broadcast:write", "system:read"];
  return (await (await post("/auth/token", { user_id, permissions })).json()).token;
}

/** The issuer of the next command that reaches the camera. The camera answers, so that another command can follow. */
async function nextIssuer(give: () => Promise<unknown>): Promise<string> {
  const before = atNorth.messages.length;
  const given = give();
  const received = (await atNorth.has(before + 1))[before];
  const { id, issued_by } = commandSchema.parse(JSON.parse(received?.payload ?? ""));
  const north = await program.client("north");
  const reply = { command_id: id, status: "succeeded" };
  await north.publishAsync(`${ROOT}/cameras/north/replies/capture.now`, JSON.stringify(reply), { qos: 1 });
  await given;
  return issued_by;
}

const overHttp = (bearer: string) => () => post("/cameras/north/commands?wait=0", { name: "capture.now" }, bearer);

/** The identity behind the last act of this kind, according to the audit log. */
function lastBy(action: string, target: RegExp): string | undefined {
  const lines = auditText(program.skylapse.dataPath).split("\n");
  return lines
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line))
    .findLast((line) => line.action === action && target.test(`${line.target} ${line.outcome}`))?.who;
}

describe("the operator key", () => {
  it("issues commands as `operator`, a name that no user has", async () => {
    expect(await nextIssuer(overHttp(OPERATOR_KEY))).toBe("operator");
    await expect.poll(() => lastBy("command", /north capture.now/)).toBe("operator");
  });
});

describe.each(NAMES)("a user named %s", (name) => {
  it("issues commands under its own name over HTTP, WebSocket and MQTT", async () => {
    const token = await minted(name);
    expect(await nextIssuer(overHttp(token))).toBe(`user:${name}`);
    await expect.poll(() => lastBy("command", /north capture.now/)).toBe(`user:${name}`);

    const dashboard = await openDashboard(program.skylapse.socket, token, "system");
    const command = { type: "command", camera: "north", name: "capture.now" };
    expect(await nextIssuer(async () => dashboard.socket.send(JSON.stringify(command)))).toBe(`user:${name}`);
    await dashboard.close();

    const claims = newCommand({ issued_by: "operator" });
    const client = await connectAsync(program.skylapse.mqtt, { username: "operator", password: token });
    expect(await nextIssuer(() => client.publishAsync(COMMAND, claims, { qos: 1 }))).toBe(`user:${name}`);
    await client.endAsync();
  });

  it("appears under its own name in the audit log", async () => {
    const token = await minted(name);
    await post("/broadcast", { event: "weather.warning" }, token);
    await expect.poll(() => lastBy("broadcast", /weather.warning done/)).toBe(`user:${name}`);
    await post("/users", { user_id: "bob", password: PASSWORD, role: "viewer" }, token);
    await expect.poll(() => lastBy("access", /POST \/users permission_denied/)).toBe(`user:${name}`);
  });

  it("keeps its name when it has an account", async () => {
    await post("/users", { user_id: name, password: PASSWORD, permissions: ["camera:control"] });
    const login = await (await post("/auth/login", { user_id: name, password: PASSWORD })).json();
    await expect.poll(() => lastBy("login", /^session:\S+ done/)).toBe(`user:${name}`);
    expect(await nextIssuer(overHttp(login.token))).toBe(`user:${name}`);
  });
});

describe("an MQTT command", () => {
  // Functions, because a command expires 30 s after it was made.
  it.each([
    ["QoS 0", () => newCommand(), { qos: 0 }],
    ["QoS 2", () => newCommand(), { qos: 2 }],
    ["QoS 1, retained", () => newCommand(), { qos: 1, retain: true }],
    ["a second `issued_by`", () => newCommand().replace("{", '{"issued_by":"mallory",'), { qos: 1 }],
    ["an escaped key", () => newCommand().replace("issued_by", "issued\\u005fby"), { qos: 1 }],
    [
      "invalid UTF-8",
      () => Buffer.concat([Buffer.from(newCommand().slice(0, -1)), Buffer.from(',"x":"\xff"}', "latin1")]),
      {},
    ],
  ] as const)("names its sender as the issuer, whatever it contains: %s", async (_, payload, options) => {
    const client = await program.client(["camera:control"]);
    const give = () => client.publishAsync(COMMAND, payload(), { qos: 1, ...options });
    expect(await nextIssuer(give)).toBe("user:somebody");
  });

  it("names its sender as the issuer when it is a will", async () => {
    const will = { topic: COMMAND, payload: Buffer.from(newCommand()), qos: 1 as const };
    const client = await program.client(["camera:control"], { will });
    const die = async () => {
      client.stream.destroy();
    };
    expect(await nextIssuer(die)).toBe("user:somebody");
  });

  it("is delivered with the id and the arguments that were sent", async () => {
    const client = await program.client(["camera:control"]);
    const topic = `${ROOT}/cameras/north/commands/lens.turn`;
    const args = '{"deep":[[{"Größe":"🏔","steps":12345678901234567890}]]}';
    await client.publishAsync(topic, newCommand().replace('"args":{}', `"args":${args}`), { qos: 1 });
    const [received] = await atNorth.has(1);
    const { id } = JSON.parse(received?.payload ?? "");
    expect(id).toMatch(/^by-mqtt-/);
    expect(received?.payload).toContain(`"args":${args}`);
    const north = await program.client("north");
    const reply = JSON.stringify({ command_id: id, status: "succeeded" });
    await north.publishAsync(`${ROOT}/cameras/north/replies/lens.turn`, reply, { qos: 1 });
  });

  it("is rejected when it is nested too deeply", async () => {
    const deep = newCommand().replace('"args":{}', `"args":${'{"a":'.repeat(32)}1${"}".repeat(32)}`);
    const client = await program.client(["camera:control"]);
    await client.publishAsync(COMMAND, deep, { qos: 1 });
    const will = { topic: COMMAND, payload: Buffer.from(deep), qos: 1 as const };
    await program.published();
    const dying = await program.client(["camera:control"], { will });
    dying.stream.destroy();
    await program.client(["camera:control"], { clientId: dying.options.clientId ?? "" });
    expect(await program.published()).toEqual([]);
    expect(atNorth.messages).toEqual([]);
  });

  it("that is not a JSON object never reaches the camera, and its sender gets an error", async () => {
    const client = await program.client(["camera:control"]);
    const replies = inboxOf(client);
    await client.subscribeAsync(`${ROOT}/cameras/north/replies/+`, { qos: 1 });
    for (const payload of ["ON", "[1]", "null", ""]) await client.publishAsync(COMMAND, payload, { qos: 1 });
    const statuses = (await replies.has(4)).map(({ payload }) => JSON.parse(payload).data.status);
    expect(statuses).toEqual(["rejected", "rejected", "rejected", "rejected"]);
    expect(atNorth.messages).toEqual([]);
  });
});

function newCommand(more: Partial<Command> = {}): string {
  const [issued_at, expires_at] = [0, 30_000].map((ms) => new Date(Date.now() + ms).toISOString());
  const id = `by-mqtt-${Math.random()}`;
  return JSON.stringify({ id, name: "capture.now", args: {}, issued_by: "operator", issued_at, expires_at, ...more });
}
