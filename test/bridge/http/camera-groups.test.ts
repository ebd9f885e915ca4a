import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MAX_CAMERA_GROUPS } from "../../../bridge/auth/camera-groups.ts";
import { MAX_TOKEN_LENGTH } from "../../../bridge/auth/tokens.ts";
import { MAX_CAMERAS_PER_GROUP } from "../../../contract/camera-records.ts";
import { auditText } from "../../support/audit.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";
import { connect, type TestClient } from "../websocket/client.ts";

const PASSWORD = "a mountain at dawn";
const ALPS = { id: "alps", name: "Alps", cameras: ["north", "south"] };

let bridge: TestBridge;
let dataPath: string;
beforeEach(async () => {
  dataPath = makeDataPath();
  bridge = await startTestBridge({
    dataPath,
    env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0" },
  });
  for (const camera of ["north", "south", "valley"])
    await bridge.say(`cameras/${camera}/state/storage`, { total_bytes: 100, free_bytes: 42 }, true);
  await call("POST", "/camera-groups", ALPS);
});
afterEach(async () => {
  await bridge.stop();
  removeDataPath(dataPath);
});

const call = (method: string, path: string, body?: object, token = OPERATOR_KEY) =>
  bridge.call(path, { method, token, ...(body === undefined ? {} : { body }) });
const listed = async (token?: string) => (await call("GET", "/camera-groups", undefined, token)).body.groups;
/** Without their versions. */
const groups = async (token?: string) =>
  (await listed(token)).map(({ version: _, ...group }: { version?: string }) => group);
const createUser = (more: object) => call("POST", "/users", { user_id: "alice", password: PASSWORD, ...more });
const changeUser = (body: object) => call("PUT", "/users/alice", body);
const login = async () =>
  (await bridge.call("/auth/login", { method: "POST", body: { user_id: "alice", password: PASSWORD } })).body;
const camerasOf = async (token: string): Promise<string[]> =>
  (await call("GET", "/cameras", undefined, token)).body.cameras.map(({ id }: { id: string }) => id);
const socket = (token: string) => connect(`ws://127.0.0.1:${bridge.port}/ws`, token);

describe("/camera-groups", () => {
  it("makes, changes and removes a group, and audits each change", async () => {
    expect(await groups()).toEqual([ALPS]);
    const changed = await call("PUT", "/camera-groups/alps", { name: "High Alps" });
    expect([changed.status, changed.body]).toMatchObject([200, { ...ALPS, name: "High Alps" }]);
    expect((await call("PUT", "/camera-groups/alps", { cameras: ["south", "south"] })).body.cameras).toEqual(["south"]);
    expect((await call("DELETE", "/camera-groups/alps")).status).toBe(204);
    expect(await groups()).toEqual([]);
    for (const [action, target] of [
      ["create", "camera-group:alps"],
      ["update", "camera-group:alps"],
      ["remove", "camera-group:alps"],
    ])
      await expect
        .poll(() => auditText(dataPath))
        .toContain(`"action":"camera-group.${action}","who":"operator","address":"127.0.0.1","target":"${target}"`);
  });

  it("keeps groups over a restart", async () => {
    await bridge.stop();
    bridge = await startTestBridge({ dataPath });
    expect(await groups()).toEqual([ALPS]);
  });

  it("refuses a change of a version that somebody else has replaced", async () => {
    const [{ version }] = await listed();
    const first = await call("PUT", "/camera-groups/alps", { version, cameras: ["north"] });
    expect(first.body.version).not.toBe(version);
    const late = await call("PUT", "/camera-groups/alps", { version, cameras: ["south"] });
    expect([late.status, late.body.error.code]).toEqual([409, "conflict"]);
    expect(await listed()).toEqual([first.body]);
    expect((await call("PUT", "/camera-groups/alps", { version: first.body.version, name: "Peaks" })).status).toBe(200);
    expect((await call("PUT", "/camera-groups/alps", { cameras: [] })).status).toBe(200);
  });

  it("shows the version to admins only: others could guess hidden cameras from it", async () => {
    expect(await listed(bridge.mint("dashboard:read"))).toEqual([ALPS]);
  });

  it("shows a narrowed reader only its cameras, and no group without them", async () => {
    await call("POST", "/camera-groups", { id: "low", name: "Valleys", cameras: ["valley"] });
    expect(await groups(bridge.mint("dashboard:read", "camera:north:read"))).toEqual([{ ...ALPS, cameras: ["north"] }]);
    expect(await groups(bridge.mint("dashboard:read"))).toHaveLength(2);
  });

  it.each<[string, string, string, object | undefined, number, string]>([
    ["an id that is in use", "POST", "/camera-groups", ALPS, 409, "conflict"],
    ["an id that is no id", "POST", "/camera-groups", { ...ALPS, id: "The Alps" }, 400, "bad_request"],
    ["an unknown field", "POST", "/camera-groups", { ...ALPS, id: "b", color: "red" }, 400, "bad_request"],
    ["a group without a name", "POST", "/camera-groups", { id: "b" }, 400, "bad_request"],
    ["a camera that is no id", "PUT", "/camera-groups/alps", { cameras: ["#"] }, 400, "bad_request"],
    ["a change of nothing", "PUT", "/camera-groups/alps", {}, 400, "bad_request"],
    [
      "too many cameras",
      "PUT",
      "/camera-groups/alps",
      { cameras: Array.from({ length: MAX_CAMERAS_PER_GROUP + 1 }, (_, index) => `c${index}`) },
      400,
      "bad_request",
    ],
    ["a change of an unknown group", "PUT", "/camera-groups/other", { name: "Other" }, 404, "not_found"],
    ["the removal of an unknown group", "DELETE", "/camera-groups/other", undefined, 404, "not_found"],
  ])("refuses %s", async (_, method, path, body, status, code) => {
    const answer = await call(method, path, body);
    expect([answer.status, answer.body.error?.code]).toEqual([status, code]);
    expect(await groups()).toEqual([ALPS]);
  });

  it(`refuses more than ${MAX_CAMERA_GROUPS} groups`, async () => {
    for (let index = 1; index < MAX_CAMERA_GROUPS; index++)
      await bridge.authority.cameraGroups.add({ id: `g${index}`, name: "Group", cameras: [] });
    const answer = await call("POST", "/camera-groups", { id: "last", name: "Last" });
    expect([answer.status, answer.body.error.code]).toEqual([409, "conflict"]);
  });

  it("does not remove a group that accounts are limited to", async () => {
    await createUser({ role: "viewer", camera_groups: ["alps"] });
    const answer = await call("DELETE", "/camera-groups/alps");
    expect([answer.status, answer.body.error.message]).toEqual([409, expect.stringContaining("alice")]);
    await changeUser({ camera_groups: null });
    expect((await call("DELETE", "/camera-groups/alps")).status).toBe(204);
  });
});

it("makes no group with the id of an earlier group that accounts are still limited to", async () => {
  await createUser({ role: "viewer", camera_groups: ["alps"] });
  // As if another node had removed the group at the same time.
  await bridge.authority.cameraGroups.remove("alps");
  const answer = await call("POST", "/camera-groups", ALPS);
  expect([answer.status, answer.body.error.message]).toEqual([409, expect.stringContaining("alice")]);
  expect((await changeUser({ enabled: false })).status).toBe(200);
  expect((await changeUser({ camera_groups: null })).status).toBe(200);
  expect((await call("POST", "/camera-groups", ALPS)).status).toBe(201);
});

describe("an account that is limited to a group", () => {
  it("sees only the cameras of the group, over HTTP and on the dashboard", async () => {
    expect((await createUser({ role: "viewer", camera_groups: ["alps"] })).body).toMatchObject({
      permissions: expect.arrayContaining(["camera:read"]),
      camera_groups: ["alps"],
    });
    const { token, permissions } = await login();
    expect(permissions).toEqual(expect.arrayContaining(["camera:north:read", "camera:south:read", "dashboard:read"]));
    expect(permissions).not.toContain("camera:read");
    expect(await camerasOf(token)).toEqual(["north", "south"]);
    expect((await call("GET", "/cameras/valley", undefined, token)).status).toBe(403);
    const dashboard = await socket(token);
    await dashboard.subscribe("dashboard");
    await dashboard.next("caught_up");
    const cameras = new Set(dashboard.dashboardEvents.flatMap(({ camera }) => camera ?? []));
    expect([...cameras].sort()).toEqual(["north", "south"]);
  });

  it("commands only the cameras of the group, if it may command", async () => {
    await createUser({ permissions: ["dashboard:read", "camera:control"], camera_groups: ["alps"] });
    const { token, permissions } = await login();
    expect(permissions).toEqual(expect.arrayContaining(["camera:north:control", "camera:south:control"]));
    const command = (camera: string) => call("POST", `/cameras/${camera}/commands`, { name: "capture.now" }, token);
    expect((await command("valley")).status).toBe(403);
    expect((await command("north")).status).toBe(409);
    expect(await camerasOf(token)).toEqual(["north", "south"]);
  });

  it("sees no camera when its groups have none", async () => {
    await call("POST", "/camera-groups", { id: "empty", name: "Empty" });
    await createUser({ role: "viewer", camera_groups: ["empty"] });
    const { token } = await login();
    expect(await camerasOf(token)).toEqual([]);
    const dashboard = await socket(token);
    await dashboard.subscribe("dashboard");
    await dashboard.next("caught_up");
    expect(dashboard.dashboardEvents.filter(({ camera }) => camera !== undefined)).toEqual([]);
  });

  async function openDashboard(): Promise<TestClient> {
    await createUser({ role: "viewer", camera_groups: ["alps"] });
    const dashboard = await socket((await login()).token);
    for (const channel of ["dashboard", "camera:south"]) await dashboard.subscribe(channel);
    return dashboard;
  }

  it("loses a camera at once that leaves the group, on its open connection", async () => {
    const dashboard = await openDashboard();
    await call("PUT", "/camera-groups/alps", { cameras: ["north"] });
    const { permissions } = await dashboard.next("auth_success");
    expect(permissions).not.toContain("camera:south:read");
    expect(await dashboard.next("unsubscription_result")).toMatchObject({ channel: "camera:south", code: 103 });
    await bridge.say("cameras/south/events/capture.started", { capture: "of-south" });
    await bridge.say("cameras/north/events/capture.started", { capture: "of-north" });
    const started = await dashboard.next("dashboard_event", ({ event }) => event === "capture.started");
    expect(started).toMatchObject({ camera: "north" });
  });

  it("gets a camera at once that joins the group", async () => {
    const dashboard = await openDashboard();
    await call("PUT", "/camera-groups/alps", { cameras: ["north", "south", "valley"] });
    expect((await dashboard.next("auth_success")).permissions).toContain("camera:valley:read");
    expect(await dashboard.next("dashboard_event", ({ camera }) => camera === "valley")).toMatchObject({
      snapshot: true,
    });
  });

  it("loses and gets cameras when its limit changes", async () => {
    const dashboard = await openDashboard();
    await changeUser({ camera_groups: null });
    expect((await dashboard.next("auth_success")).permissions).toContain("camera:read");
    await call("POST", "/camera-groups", { id: "low", name: "Valleys", cameras: ["valley"] });
    await changeUser({ camera_groups: ["low"] });
    const { permissions } = await dashboard.next("auth_success");
    expect(permissions.filter((held) => held.startsWith("camera:"))).toEqual(["camera:valley:read"]);
  });

  it("gets a token that is short enough, and grants nothing by itself", async () => {
    const cameras = Array.from({ length: MAX_CAMERAS_PER_GROUP }, (_, index) => `camera-with-a-long-name-${index}`);
    await call("PUT", "/camera-groups/alps", { cameras });
    await createUser({ role: "viewer", camera_groups: ["alps"] });
    const { token, permissions } = await login();
    expect(permissions).toHaveLength(MAX_CAMERAS_PER_GROUP + 5);
    expect(token.length).toBeLessThan(MAX_TOKEN_LENGTH / 8);
    const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());
    expect(claims.permissions).not.toContain("camera:read");
    expect(claims.permissions).toContain("cameras:limited");
    await bridge.say(`cameras/${cameras[7]}/state/storage`, { total_bytes: 100, free_bytes: 42 }, true);
    expect(await camerasOf(token)).toEqual([cameras[7]]);
  });

  it.each<[string, object]>([
    ["an unknown group", { role: "viewer", camera_groups: ["nowhere"] }],
    ["no group", { role: "viewer", camera_groups: [] }],
    ["the role admin", { role: "admin", camera_groups: ["alps"] }],
    ["the permission admin", { permissions: ["admin"], camera_groups: ["alps"] }],
    ["too many groups", { role: "viewer", camera_groups: Array.from({ length: 21 }, () => "alps") }],
  ])("cannot have %s", async (_, more) => {
    expect((await createUser(more)).status).toBe(400);
  });

  it("cannot become an admin while it is limited", async () => {
    await createUser({ role: "viewer", camera_groups: ["alps"] });
    expect((await changeUser({ role: "admin" })).status).toBe(400);
    expect((await changeUser({ role: "admin", camera_groups: null })).status).toBe(200);
    expect((await changeUser({ camera_groups: ["alps"] })).status).toBe(400);
  });

  it("is audited with its groups", async () => {
    await createUser({ permissions: ["camera:read"], camera_groups: ["alps"] });
    await expect.poll(() => auditText(dataPath)).toContain('"outcome":"permissions camera:read camera-groups alps"');
  });
});
