import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { socketSettings } from "../../bridge/websocket/config.ts";
import { ROOT } from "../docs/pages.ts";

const UNITS = ["deploy/skylapse-server.service", "deploy/skylapse-camera.service"];
/** Options of a unit that limit what the service can do to the machine. */
const HARDENING = ["NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"];

/** The lines of a unit, by section. */
function readUnit(path: string): Record<string, string[]> {
  const sections: Record<string, string[]> = {};
  let section = "";
  for (const line of readFileSync(join(ROOT, path), "utf8").split("\n")) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [, name] = /^\[(\w+)\]$/.exec(line) ?? [];
    if (name !== undefined) section = name;
    else expect(line).toMatch(/^[A-Z]\w+=/);
    sections[section] = [...(sections[section] ?? []), ...(name === undefined ? [line] : [])];
  }
  return sections;
}

const settingOf = (lines: readonly string[], name: string) =>
  lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";

describe.each(UNITS)("%s", (path) => {
  const { Service = [], Install = [] } = readUnit(path);

  it("runs as its own user, restarts, and cannot change the system", () => {
    expect(Service).toEqual(expect.arrayContaining([...HARDENING, "User=skylapse", "Restart=always"]));
    expect(Install).toEqual(["WantedBy=multi-user.target"]);
  });

  it("starts a program that exists, with its data in the state directory", () => {
    const program = settingOf(Service, "ExecStart").split(" ")[2] ?? "";
    expect(existsSync(join(ROOT, program))).toBe(true);
    expect(settingOf(Service, "Environment")).toContain(`DATA_PATH=/var/lib/${settingOf(Service, "StateDirectory")}`);
  });

  it("is valid by `systemd-analyze verify`", () => {
    const { stderr } = spawnSync("systemd-analyze", ["verify", join(ROOT, path)], { encoding: "utf8" });
    // Ignores lines about other units, which systemd-analyze cannot find on a machine that does not run systemd.
    expect(stderr.split("\n").filter((line) => line.includes(path))).toEqual([]);
  });
});

describe("deploy/skylapse-server.service", () => {
  const { Service = [] } = readUnit("deploy/skylapse-server.service");

  it("reads its settings from a file, and keeps its data private", () => {
    expect(Service).toEqual(
      expect.arrayContaining(["EnvironmentFile=-/etc/skylapse.env", "StateDirectoryMode=0700", "UMask=0077"]),
    );
  });

  it("gives the server more time to stop than the longest stop needs", () => {
    const longest = 60_000;
    expect(socketSettings.SHUTDOWN_SPREAD_MS.safeParse(String(longest + 1)).success).toBe(false);
    expect(Number(settingOf(Service, "TimeoutStopSec")) * 1000).toBeGreaterThan(longest + 8_000);
  });

  it("has a low exposure by `systemd-analyze security`", () => {
    const args = ["security", "--offline=yes", "--threshold=20", join(ROOT, "deploy/skylapse-server.service")];
    expect(() => execFileSync("systemd-analyze", args, { stdio: "pipe" })).not.toThrow();
  });
});
