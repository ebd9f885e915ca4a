import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openDevices } from "../../broker/devices.ts";
import { SECRET, temporaryFolder } from "./broker-under-test.ts";

const newPath = () => join(temporaryFolder(), "deeper", "devices.json");

describe("the devices", () => {
  it("are kept over a restart, with what proves their secrets and not the secrets", async () => {
    const path = newPath();
    const devices = await openDevices(path);
    const { secret } = await devices.add({ id: "north", kind: "camera" });
    await devices.add({ id: "stacker", kind: "processing", secret: SECRET });
    const again = await openDevices(path);
    expect(again.list().map(({ id, kind }) => [id, kind])).toEqual([
      ["north", "camera"],
      ["stacker", "processing"],
    ]);
    expect(await again.verify("north", secret)).toMatchObject({ id: "north", kind: "camera" });
    expect(await again.verify("stacker", SECRET)).toMatchObject({ id: "stacker", kind: "processing" });
    const file = readFileSync(path, "utf8");
    expect(file).not.toContain(secret);
    expect(file).not.toContain(SECRET);
    expect(JSON.stringify(again.list())).not.toContain("hash");
  });

  it("have secrets of 256 bits, each its own", async () => {
    const devices = await openDevices(newPath());
    const one = await devices.add({ id: "one", kind: "camera" });
    const two = await devices.add({ id: "two", kind: "camera" });
    expect(Buffer.from(one.secret, "base64url")).toHaveLength(32);
    expect(two.secret).not.toBe(one.secret);
    expect(await devices.verify("two", one.secret)).toBeUndefined();
  });

  it("are readable by the owner of the file only, whatever it was before", async () => {
    const path = newPath();
    const devices = await openDevices(path);
    await devices.add({ id: "north", kind: "camera" });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    chmodSync(path, 0o644);
    await devices.add({ id: "south", kind: "camera" });
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it("lose a secret when it is replaced, and everything when they are removed", async () => {
    const devices = await openDevices(newPath());
    const changed: string[] = [];
    const { secret } = await devices.add({ id: "north", kind: "camera" });
    devices.onChange((id) => changed.push(id));
    const next = await devices.rotate("north");
    expect(await devices.verify("north", secret)).toBeUndefined();
    expect(await devices.verify("north", next.secret)).toMatchObject({ kind: "camera" });
    expect(await devices.remove("north")).toBe(true);
    expect(await devices.remove("north")).toBe(false);
    expect(await devices.verify("north", next.secret)).toBeUndefined();
    expect(changed).toContain("north");
  });

  it("are set once: the same again changes nothing", async () => {
    const path = newPath();
    const devices = await openDevices(path);
    const changed: string[] = [];
    await devices.set({ id: "north", kind: "camera", secret: SECRET });
    devices.onChange((id) => changed.push(id));
    const before = readFileSync(path, "utf8");
    await devices.set({ id: "north", kind: "camera", secret: SECRET });
    expect(readFileSync(path, "utf8")).toBe(before);
    expect(changed).toEqual([]);
    await devices.set({ id: "north", kind: "processing", secret: SECRET });
    expect(devices.get("north")?.kind).toBe("processing");
    expect(changed).toEqual(["north"]);
  });

  it.each([
    ["an id that is taken", { id: "north", kind: "camera" }, 'there is a device "north" already'],
    ["an id that could widen into a filter", { id: "+", kind: "camera" }, "the device id must be 1 to 63"],
    ["a name that is inherited", { id: "__proto__", kind: "camera" }, "the device id must be 1 to 63"],
    ["a secret of 31 characters", { id: "new", kind: "camera", secret: "x".repeat(31) }, "shorter than 32"],
  ] as const)("are not added with %s", async (_, device, message) => {
    const devices = await openDevices(newPath());
    await devices.add({ id: "north", kind: "camera" });
    await expect(devices.add(device)).rejects.toThrow(message);
    expect(devices.list()).toHaveLength(1);
  });

  it("cannot be rotated when they are not there", async () => {
    await expect((await openDevices(newPath())).rotate("west")).rejects.toThrow('there is no device "west"');
  });

  it("that another process adds or removes are seen at once", async () => {
    const path = newPath();
    const broker = await openDevices(path);
    const command = await openDevices(path);
    const { secret } = await command.add({ id: "north", kind: "camera" });
    expect(await broker.verify("north", secret)).toMatchObject({ id: "north" });
    const changed: string[] = [];
    broker.onChange((id) => changed.push(id));
    await command.remove("north");
    expect(await broker.verify("north", secret)).toBeUndefined();
    expect(changed).toEqual(["north"]);
  });

  it("that are added at the same time are all kept", async () => {
    const path = newPath();
    const devices = await openDevices(path);
    await Promise.all(Array.from({ length: 20 }, (_, index) => devices.add({ id: `c${index}`, kind: "camera" })));
    expect((await openDevices(path)).list()).toHaveLength(20);
  });

  it("in a damaged file are not guessed at", async () => {
    const path = join(temporaryFolder(), "devices.json");
    writeFileSync(path, '{"version":1,"devices":[{"id":"north"}]}');
    await expect(openDevices(path)).rejects.toThrow(/cannot understand the devices in .*: mend the file/);
  });
});
