import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { MIN_DEVICE_SECRET_LENGTH } from "../../../bridge/auth/devices.ts";
import { OPERATOR_KEY, startTestBridge, type TestBridge } from "../support/test-bridge.ts";

let bridge: TestBridge;
beforeEach(async () => {
  bridge = await startTestBridge();
});
afterEach(() => bridge.stop());

const call = (method: string, path: string, body?: object, token: string | undefined = OPERATOR_KEY) =>
  bridge.call(path, { method, token, ...(body === undefined ? {} : { body }) });

describe("/devices", () => {
  it("adds a device and returns its secret once, rotates the secret, and removes the device", async () => {
    const made = await call("POST", "/devices", { id: "north" });
    expect(made).toMatchObject({ status: 201, body: { id: "north", kind: "camera" } });
    const { devices } = bridge.authority;
    expect(devices.verify("north", made.body.secret)).toMatchObject({ id: "north" });
    const { body } = await call("GET", "/devices");
    expect(body.devices).toEqual([{ id: "north", kind: "camera", changed_at: made.body.changed_at }]);

    const rotated = await call("POST", "/devices/north/rotate");
    expect(rotated.status).toBe(200);
    expect(devices.verify("north", made.body.secret)).toBeUndefined();
    expect(devices.verify("north", rotated.body.secret)).toMatchObject({ id: "north" });

    expect((await call("DELETE", "/devices/north")).status).toBe(204);
    expect((await call("GET", "/devices")).body.devices).toEqual([]);
    for (const [method, path] of [["DELETE", "/devices/north"] as const, ["POST", "/devices/north/rotate"] as const])
      expect((await call(method, path)).status).toBe(404);
  });

  it("registers a device with a certificate", async () => {
    const made = await call("POST", "/devices", { id: "stacker", kind: "processing", certificate_name: "Stacker 1" });
    expect(made.body).toMatchObject({ kind: "processing", certificate_name: "Stacker 1" });
    expect(made.body).not.toHaveProperty("secret");
    const twin = await call("POST", "/devices", { id: "other", certificate_name: "Stacker 1" });
    expect([twin.status, twin.body.error.code]).toEqual([409, "conflict"]);
    await call("POST", "/devices/stacker/rotate", { certificate_name: "Stacker 2" });
    expect(bridge.authority.devices.withCertificate("Stacker 2")).toMatchObject({ id: "stacker" });
  });

  it.each([
    ["an id that is in use", { id: "north" }, 409, "already"],
    ["an id that could widen into a filter", { id: "#" }, 400, "`id` must be 1 to 63"],
    ["an id that objects inherit", { id: "__proto__" }, 400, "`id` must be 1 to 63"],
    [
      "a secret that is too short",
      { id: "west", secret: "x".repeat(MIN_DEVICE_SECRET_LENGTH - 1) },
      400,
      "at least 32",
    ],
    ["a certificate with a line break", { id: "west", certificate_name: "a\nb" }, 400, "printable ASCII"],
    ["an unknown kind", { id: "west", kind: "operator" }, 400, "kind"],
    [
      "both secret and certificate",
      { id: "west", secret: "x".repeat(32), certificate_name: "w" },
      400,
      "exclude each other",
    ],
    ["an unknown field", { id: "west", permissions: ["admin"] }, 400, "permissions"],
  ] as const)("refuses %s", async (_, body, status, why) => {
    await call("POST", "/devices", { id: "north" });
    const answer = await call("POST", "/devices", body);
    expect(answer.status).toBe(status);
    expect(answer.text).toContain(why);
    expect(bridge.authority.devices.list()).toHaveLength(1);
  });

  it("needs an admin", async () => {
    const viewer = bridge.mint("dashboard:read", "camera:control");
    for (const [method, path] of [
      ["GET", "/devices"],
      ["POST", "/devices"],
      ["POST", "/devices/north/rotate"],
      ["DELETE", "/devices/north"],
    ] as const) {
      expect((await call(method, path, undefined, viewer)).status).toBe(403);
      expect((await bridge.call(path, { method })).status).toBe(401);
    }
    expect((await call("GET", "/devices", undefined, bridge.mint("admin"))).status).toBe(200);
  });

  it("records each change in the audit log, without the secret", async () => {
    const { secret } = (await call("POST", "/devices", { id: "north" })).body;
    await call("POST", "/devices/north/rotate");
    await call("DELETE", "/devices/north");
    const text = () => readFile(join(bridge.dataPath, "audit.log"), "utf8");
    await expect.poll(text).toContain("device.remove");
    const lines = (await text()).trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject(
      ["device.create", "device.rotate", "device.remove"].map((action) => {
        return { action, who: "operator", target: "device:north" };
      }),
    );
    expect(lines.join()).not.toContain(secret);
  });
});
