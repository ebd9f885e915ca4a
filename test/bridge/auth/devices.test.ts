import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { openDevicesOf } from "../../support/devices.ts";

const SECRET = "a-secret-of-at-least-thirty-two-characters";

function newPath(): string {
  const path = mkdtempSync(join(tmpdir(), "skylapse-devices-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true, maxRetries: 5 }));
  return path;
}

async function openIn(path = newPath()) {
  const opened = await openDevicesOf(path);
  onTestFinished(opened.close);
  return opened;
}

const camera = (id: string, credential = {}) => ({ id, kind: "camera", credential }) as const;

describe("the device store", () => {
  it("keeps devices over a restart, and stores hashes instead of secrets", async () => {
    const path = newPath();
    const first = await openIn(path);
    const secret = (await first.devices.add(camera("north"))) ?? "";
    await first.devices.add({ id: "stacker", kind: "processing", credential: { secret: SECRET } });
    await first.close();
    const { devices, documents } = await openIn(path);
    expect(devices.list().map(({ id, kind }) => [id, kind])).toEqual([
      ["north", "camera"],
      ["stacker", "processing"],
    ]);
    expect(devices.verify("north", secret)).toMatchObject({ id: "north", kind: "camera" });
    expect(devices.verify("stacker", SECRET)).toMatchObject({ id: "stacker", kind: "processing" });
    const stored = JSON.stringify(await documents.list("devices"));
    expect(stored).toContain("stacker");
    expect(stored).not.toContain(secret);
    expect(stored).not.toContain(SECRET);
    expect(JSON.stringify(devices.list())).not.toContain("hash");
  });

  it("generates a different secret of 256 bits for each device", async () => {
    const { devices } = await openIn();
    const one = (await devices.add(camera("one"))) ?? "";
    const two = await devices.add(camera("two"));
    expect(Buffer.from(one, "base64url")).toHaveLength(32);
    expect(two).not.toBe(one);
    expect(devices.verify("two", one)).toBeUndefined();
  });

  it("rejects a replaced secret, and forgets a removed device", async () => {
    const { devices } = await openIn();
    const changed: string[] = [];
    devices.onChange((id) => changed.push(id));
    const secret = (await devices.add(camera("north"))) ?? "";
    expect(changed).toEqual([]);
    const next = (await devices.rotate("north", {})) ?? "";
    expect(devices.verify("north", secret)).toBeUndefined();
    expect(devices.verify("north", next)).toMatchObject({ kind: "camera" });
    expect(changed).toEqual(["north"]);
    await devices.remove("north");
    await expect(devices.remove("north")).rejects.toThrow('there is no device "north"');
    expect(devices.verify("north", next)).toBeUndefined();
    expect(changed).toEqual(["north", "north"]);
  });

  it("changes nothing when a device is set to the same values again", async () => {
    const { devices } = await openIn();
    const changed: string[] = [];
    devices.onChange((id) => changed.push(id));
    await devices.set({ id: "north", kind: "camera", secret: SECRET });
    const before = devices.get("north");
    await devices.set({ id: "north", kind: "camera", secret: SECRET });
    expect([devices.get("north"), changed]).toEqual([before, []]);
    await devices.set({ id: "north", kind: "processing", secret: SECRET });
    expect(devices.get("north")?.kind).toBe("processing");
    expect(changed).toEqual(["north"]);
  });

  it("gives no secret to a device with a certificate, and assigns each certificate name to one device", async () => {
    const { devices } = await openIn();
    expect(await devices.add(camera("north", { certificateName: "Camera 1" }))).toBeUndefined();
    expect(devices.withCertificate("Camera 1")).toMatchObject({ id: "north", certificateName: "Camera 1" });
    expect(devices.withCertificate("Camera 2")).toBeUndefined();
    for (const guess of ["", "Camera 1", "undefined"]) expect(devices.verify("north", guess)).toBeUndefined();
    await expect(devices.add(camera("south", { certificateName: "Camera 1" }))).rejects.toThrow(
      'the certificate name "Camera 1" belongs to "north" already',
    );
    const secret = (await devices.rotate("north", {})) ?? "";
    expect(devices.withCertificate("Camera 1")).toBeUndefined();
    expect(devices.verify("north", secret)).toMatchObject({ certificateName: undefined });
  });

  it.each([
    ["an id in use", "north", 'there is a device "north" already'],
    ["an id that is an MQTT wildcard", "+", "the device id must be 1 to 63"],
    ["an inherited property name", "__proto__", "the device id must be 1 to 63"],
  ] as const)("rejects a device with %s", async (_, id, message) => {
    const { devices } = await openIn();
    await devices.add(camera("north"));
    await expect(devices.add(camera(id))).rejects.toThrow(message);
    expect(devices.list()).toHaveLength(1);
  });

  it.each(["west", "__proto__", "../north"])("rejects rotation and removal of an unknown device: %s", async (id) => {
    const { devices } = await openIn();
    await expect(devices.rotate(id, {})).rejects.toThrow(`there is no device "${id}"`);
    await expect(devices.remove(id)).rejects.toThrow(`there is no device "${id}"`);
  });

  it("keeps all devices that are added at the same time, but only one device for each id", async () => {
    const { devices } = await openIn();
    await Promise.all(Array.from({ length: 20 }, (_, index) => devices.add(camera(`c${index}`))));
    expect(devices.list()).toHaveLength(20);
    const twins = await Promise.allSettled([devices.add(camera("twin")), devices.add(camera("twin"))]);
    expect(twins.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
  });
});
