import type { IClientOptions, MqttClient } from "mqtt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { closed, inboxOf } from "../broker/broker-under-test.ts";
import { rawSession, subscribePacket, TYPE } from "../broker/raw-client.ts";
import { connectDashboard, openDashboard, signToken } from "../support/dashboard.ts";
import { startRunningClock } from "../support/running-clock.ts";
import { OPERATOR_KEY, type Program, ROOT, SECRET, signIn, startProgram } from "./mqtt-program.ts";

let program: Program;

beforeAll(async () => {
  program = await startProgram();
});
afterAll(() => program.stop());

type Who = string | readonly string[];
const NORTH = `${ROOT}/cameras/north`;
const SOUTH = `${ROOT}/cameras/south`;
const VIEWER = ["dashboard:read", "camera:read", "alerts:read", "jobs:read", "system:read"];

/** The code of the CONNACK: 0 when the client is accepted. */
async function connackOf(who: Who, options: IClientOptions = {}): Promise<number> {
  try {
    await (await program.client(who, options)).endAsync();
    return 0;
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "number") return error.code;
    throw error;
  }
}

async function subackOf(client: MqttClient, filter: string): Promise<number> {
  const suback = new Promise<number>((resolve) => {
    client.on("packetreceive", (packet) => {
      if (packet.cmd === "suback") resolve(Number(packet.granted[0]));
    });
  });
  client.subscribe(filter, { qos: 1 }, () => undefined);
  return suback;
}

const FORBIDDEN_WRITES: [string, Who, string][] = [
  ["a camera publishes an event of another", "north", `${SOUTH}/events/capture.completed`],
  ["a camera publishes the state of another", "north", `${SOUTH}/state/power`],
  ["a camera publishes the link of another", "north", `${SOUTH}/link`],
  ["a camera publishes an alert of another", "north", `${SOUTH}/alerts/cold`],
  ["a camera publishes a picture of another", "north", `${SOUTH}/previews/c1`],
  ["a camera sends a command to itself", "north", `${NORTH}/commands/reboot`],
  ["a camera sends a command to another", "north", `${SOUTH}/commands/reboot`],
  ["a camera publishes its own presence", "north", `${NORTH}/state/presence`],
  ["a camera publishes its own gaps", "north", `${NORTH}/state/gaps`],
  ["a camera publishes on a topic of the backend", "north", `${ROOT}/system/status`],
  ["a camera publishes on a channel", "north", `${ROOT}/channels/dashboard/events/system.status`],
  ["a camera publishes on a topic of a service", "north", `${ROOT}/processing/stacker/jobs/one`],
  ["a camera publishes outside the root", "north", "house/light"],
  ["a camera publishes on a topic of the broker", "north", "$SYS/x/new/clients"],
  ["a service publishes an event of a camera", "stacker", `${NORTH}/events/capture.completed`],
  ["a service publishes on a topic of another", "stacker", `${ROOT}/processing/other/jobs/one`],
  ["a viewer publishes an event of a camera", VIEWER, `${NORTH}/events/capture.completed`],
  ["a viewer sends a command", VIEWER, `${NORTH}/commands/capture.now`],
  ["a user who may command one camera commands another", ["camera:north:control"], `${SOUTH}/commands/capture.now`],
  ["a user who may send commands publishes a reply", ["camera:control"], `${NORTH}/replies/capture.now`],
  ["a user who may send commands publishes an event", ["camera:control"], `${NORTH}/events/capture.completed`],
  ["a user who may broadcast publishes on a topic of the backend", ["broadcast:write"], `${ROOT}/system/status`],
  ["a user who may broadcast publishes on a topic of a camera", ["broadcast:write"], `${NORTH}/link`],
  [
    "a user publishes whose permissions only resemble real ones",
    ["device:+", "device:#", "device:", "device:NORTH", "Admin"],
    `${NORTH}/link`,
  ],
  ["a user publishes with two permissions in one string", ["dashboard:read\nadmin"], `${NORTH}/link`],
  ["an administrator publishes on the broker's topic that disconnects clients", ["admin"], "$SYS/x/new/clients"],
  ["an administrator publishes on an unknown topic below the root", ["admin"], `${ROOT}/system`],
];

describe("a forbidden publication is acknowledged and not delivered:", () => {
  it.each(FORBIDDEN_WRITES)("%s", async (_, who, topic) => {
    const client = await program.client(who);
    for (const qos of [0, 1, 2] as const) await client.publishAsync(topic, "x", { qos, retain: true });
    expect(client.connected).toBe(true);
    expect(await program.published()).toEqual([]);
  });
});

describe("a forbidden will is dropped:", () => {
  it.each(FORBIDDEN_WRITES)("%s", async (_, who, topic) => {
    const will = { topic, payload: Buffer.from("gone"), qos: 1 as const, retain: true };
    const client = await program.client(who, { will });
    client.stream.destroy();
    // Connects again: the broker would publish a will of the earlier connection before it accepts the new connection.
    await program.client(who, { clientId: client.options.clientId ?? "" });
    expect(await program.published()).toEqual([]);
  });
});

describe("a forbidden filter gets 128:", () => {
  it.each<[Who, string]>([
    ["north", "#"],
    ["north", "+/#"],
    ["north", `${ROOT}/#`],
    ["north", `${NORTH}/#`],
    ["north", `${ROOT}/cameras/+/commands/#`],
    ["north", `${ROOT}/cameras/+/commands/+`],
    ["north", `${SOUTH}/commands/+`],
    ["north", `${NORTH}/commands/#`],
    ["north", `$share/g/${SOUTH}/commands/+`],
    ["stacker", `${ROOT}/processing/#`],
    [VIEWER, "#"],
    [VIEWER, "+/#"],
    [VIEWER, "+/v1/#"],
    [VIEWER, "skylapse/+/#"],
    [VIEWER, "skylapse/#"],
    [VIEWER, "$SYS/#"],
    [VIEWER, "$SYS/+/new/clients"],
    [VIEWER, "$share/g/#"],
    [VIEWER, `$queue/${ROOT}/#`],
    [["camera:north:read"], `${ROOT}/#`],
    [["camera:north:read"], `${ROOT}/cameras/#`],
    [["camera:north:read"], `${ROOT}/cameras/+/events/+`],
    [["camera:north:read"], `${SOUTH}/#`],
    [["camera:north:control"], `${NORTH}/commands/+`],
    [["camera:north:read", "dashboard:read"], `${ROOT}/#`],
    [["alerts:read"], `${ROOT}/cameras/+/+/+`],
    [["dashboard:read\nadmin"], "#"],
    [["admin"], "$share/+/#"],
  ])("%j subscribes to %s", async (who, filter) => {
    expect(await subackOf(await program.client(who), filter)).toBe(128);
  });

  it("but a filter that could match commands is granted without a delivery of commands", async () => {
    const viewer = await program.client(["dashboard:read", "camera:read", "camera:control"]);
    const inbox = inboxOf(viewer);
    expect(await subackOf(viewer, `${ROOT}/cameras/+/commands/#`)).toBe(1);
    await viewer.subscribeAsync(`${NORTH}/about`, { qos: 1 });
    await viewer.publishAsync(`${NORTH}/commands/reboot`, "{}", { qos: 1 });
    await (await program.client("north")).publishAsync(`${NORTH}/about`, "last", { qos: 1 });
    expect((await inbox.has(1)).map(({ payload }) => payload)).toEqual(["last"]);
    await program.published();
  });

  it("and a permission with a line break is not treated as two permissions", async () => {
    await program.client(["admin", "dashboard:read"]);
    expect(await subackOf(await program.client(["admin\ndashboard:read"]), "#")).toBe(128);
    const dashboard = await openDashboard(program.skylapse.socket, signToken("a", ["admin", "dashboard:read"]));
    const other = await connectDashboard(program.skylapse.socket);
    other.send({ type: "auth", token: signToken("b", ["admin\ndashboard:read"]) });
    await other.next("auth_success");
    other.send({ type: "subscribe", channel: "dashboard" });
    expect(await other.next("subscription_result")).toMatchObject({ success: false, code: 103 });
    await Promise.all([dashboard.close(), other.close()]);
  });
});

describe("a client id", () => {
  const clean = false;
  it.each<[string, Who, Who]>([
    ["of a camera, used by a user,", "north", ["dashboard:read"]],
    ["of a camera, used by an administrator,", "north", ["admin"]],
    ["of a user, used by a camera,", ["camera:read"], "north"],
    ["of a camera, used by another,", "north", "south"],
    ["of a camera, used by a service,", "north", "stacker"],
  ])("%s does not change the owner's session, connected or stored", async (_, owner, other) => {
    const clientId = `owned-${Math.random()}`;
    const first = await program.client(owner, { clientId, clean });
    const filter = owner === "north" ? `${NORTH}/commands/+` : `${NORTH}/#`;
    await first.subscribeAsync(filter, { qos: 1 });
    expect(await connackOf(other, { clientId })).toBe(0);
    expect(await connackOf(other, { clientId, clean })).toBe(0);
    expect(first.connected).toBe(true);
    await first.endAsync();
    expect(await connackOf(other, { clientId })).toBe(0);
    const again = await rawSession(program.port, { clientId, clean, ...signIn(owner) });
    expect(again.sessionPresent).toBe(true);
  });

  it.each<[string, Who]>([
    ["a token without permissions", []],
    ["a token with the camera's permission", ["device:north"]],
    ["an administrator", ["admin"]],
    ["another camera", "south"],
  ])("that is reserved for a camera is refused to %s, and the camera can always connect", async (_, thief) => {
    const clientId = "camera-north";
    expect(await connackOf(thief, { clientId, clean })).toBe(2);
    const north = await program.client("north", { clientId, clean });
    expect(await connackOf(thief, { clientId })).toBe(2);
    expect(north.connected).toBe(true);
    await north.endAsync();
    expect(await connackOf(thief, { clientId, clean })).toBe(2);
    expect(await connackOf("north", { clientId })).toBe(0);
  });
});

describe("the subscriptions of a session", () => {
  it("contain the granted filters, and no refused filter", async () => {
    const session = { clientId: "mixed", ...signIn(["alerts:read"]), clean: false };
    const first = await rawSession(program.port, session);
    first.send(
      subscribePacket([
        [`${ROOT}/cameras/+/alerts/#`, 1],
        [`${ROOT}/#`, 1],
        ["$SYS/#", 1],
      ]),
    );
    expect([...(await first.next(TYPE.suback)).subarray(2)]).toEqual([1, 128, 128]);
    first.socket.destroy();
    const north = await program.client("north");
    await north.publishAsync(`${NORTH}/about`, "secret", { qos: 1 });
    await north.publishAsync(`${NORTH}/alerts/cold`, "cold", { qos: 1 });
    const again = await rawSession(program.port, session);
    const message = await again.next(TYPE.publish);
    expect(message.toString()).toContain("alerts/cold");
    expect(again.packets).toEqual([]);
    await program.published();
  });

  it("shrink to the permissions of the next connection, and so do its queued messages", async () => {
    const filter = `${ROOT}/cameras/#`;
    const session = { clientId: "lessened", clean: false };
    const first = await program.client(["camera:read"], session);
    await first.subscribeAsync([filter, `${NORTH}/#`], { qos: 1 });
    await first.endAsync();
    const [north, south] = [await program.client("north"), await program.client("south")];
    await south.publishAsync(`${SOUTH}/about`, "secret", { qos: 1 });
    await north.publishAsync(`${NORTH}/about`, "one", { qos: 1 });
    const again = await rawSession(program.port, { ...session, ...signIn(["camera:north:read"]) });
    await south.publishAsync(`${SOUTH}/about`, "secret", { qos: 1 });
    await north.publishAsync(`${NORTH}/about`, "two", { qos: 1 });
    const got = [await again.next(TYPE.publish), await again.next(TYPE.publish)].map(String);
    expect(got.map((text) => /(one|two|secret)$/.exec(text)?.[0])).toEqual(["one", "two"]);
    await program.published();
  });
});

describe("the secret of a camera", () => {
  it.each([
    ["/cameras", "GET"],
    ["/connections", "GET"],
    ["/devices", "GET"],
    ["/users", "GET"],
    ["/cameras/north/commands", "POST"],
    ["/broadcast", "POST"],
  ])("is rejected over HTTP: %s", async (path, method) => {
    for (const authorization of [`Bearer ${SECRET}`, `Basic ${Buffer.from(`north:${SECRET}`).toString("base64")}`]) {
      const body = method === "POST" ? { body: '{"name":"capture.now"}' } : {};
      const answer = await fetch(program.skylapse.http + path, { method, headers: { authorization }, ...body });
      expect([401, 403]).toContain(answer.status);
    }
  });

  it("is rejected over WebSocket", async () => {
    const dashboard = await connectDashboard(program.skylapse.socket);
    dashboard.send({ type: "auth", token: SECRET });
    expect(await dashboard.closed).toBe(4002);
  });

  it.each<[string, IClientOptions, number]>([
    ["with the name of another camera", { username: "west", password: SECRET }, 4],
    ["with an empty user name", { username: "", password: SECRET }, 4],
    ["with an inherited user name", { username: "__proto__", password: SECRET }, 4],
    ["with a wildcard as user name", { username: "+", password: SECRET }, 4],
    ["followed by NUL", { username: "north", password: `${SECRET}\u0000` }, 4],
    ["in the form of a token", { username: "north", password: `${SECRET}..` }, 4],
  ])("is rejected %s", async (_, options, code) => {
    expect(await connackOf("north", options)).toBe(code);
  });

  it("authenticates only its own camera", async () => {
    const answer = await fetch(`${program.skylapse.http}/devices/south/rotate`, {
      method: "POST",
      headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    });
    const { secret } = await answer.json();
    expect(await connackOf("south", { username: "south", password: secret })).toBe(0);
    expect(await connackOf("south", { username: "north", password: secret })).toBe(4);
    expect(await connackOf("south")).toBe(4);
    const back = await fetch(`${program.skylapse.http}/devices/south`, {
      method: "DELETE",
      headers: { authorization: `Bearer ${OPERATOR_KEY}` },
    });
    expect(back.status).toBe(204);
    expect(await connackOf("south", { username: "south", password: secret })).toBe(4);
    await fetch(`${program.skylapse.http}/devices`, {
      method: "POST",
      headers: { authorization: `Bearer ${OPERATOR_KEY}`, "content-type": "application/json" },
      body: JSON.stringify({ id: "south", kind: "camera", secret: SECRET }),
    });
  });
});

describe("a token with the permission of a device", () => {
  it("may act as its camera and as no other camera, whatever its user name", async () => {
    const client = await program.client(["device:north"], { username: "south" });
    await client.publishAsync(`${NORTH}/about`, "{}", { qos: 1 });
    await client.publishAsync(`${SOUTH}/about`, "{}", { qos: 1 });
    expect(await program.published()).toEqual([`${NORTH}/about`]);
  });

  it("does not take over the camera's connection", async () => {
    const north = await program.client("north", { clientId: "north-itself" });
    expect(await connackOf(["device:north"], { clientId: "north-itself" })).toBe(0);
    expect(north.connected).toBe(true);
  });
});

describe("a token that is no longer valid", () => {
  it("disconnects its client when it expires, and nothing more is delivered", async () => {
    const token = signToken("brief", ["camera:read"], 4);
    const client = await program.client([], { username: "brief", password: token, clientId: "brief", clean: false });
    const inbox = inboxOf(client);
    await client.subscribeAsync(`${NORTH}/#`, { qos: 1 });
    await closed(client);
    await (await program.client("north")).publishAsync(`${NORTH}/events/capture.completed`, "late", { qos: 1 });
    expect(inbox.messages.filter(({ payload }) => payload === "late")).toEqual([]);
    expect(await connackOf([], { username: "brief", password: token })).toBe(4);
    await program.published();
  });

  it("disconnects its client within a second when its user is revoked, and nothing more is delivered", async () => {
    const north = await program.client("north");
    const client = await program.client([], { username: "eve", password: signToken("eve", ["camera:read"]) });
    const inbox = inboxOf(client);
    await client.subscribeAsync(`${NORTH}/events/+`, { qos: 1 });
    await north.publishAsync(`${NORTH}/events/capture.completed`, "before", { qos: 1 });
    await inbox.has(1);
    const disconnected = closed(client);
    const answer = await fetch(`${program.skylapse.http}/auth/revoke`, {
      method: "POST",
      headers: { authorization: `Bearer ${OPERATOR_KEY}` },
      body: JSON.stringify({ user_id: "eve" }),
    });
    expect(answer.status).toBe(204);
    const since = startRunningClock();
    await disconnected;
    expect(since()).toBeLessThan(1000);
    await north.publishAsync(`${NORTH}/events/capture.completed`, "after", { qos: 1 });
    expect(inbox.messages.map(({ payload }) => payload)).toEqual(["before"]);
    await program.published();
  });
});
