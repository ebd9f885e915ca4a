import { execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { type AuditOptions, openAudit } from "../../../bridge/auth/audit.ts";
import { makeDataPath, removeDataPath } from "../../support/skylapse.ts";
import { startTestBridge } from "../support/test-bridge.ts";

function newFolder(): string {
  const folder = makeDataPath();
  onTestFinished(() => removeDataPath(folder));
  return folder;
}

/** An audit log, and what the program's own log says of it. */
async function openLog(options: Pick<AuditOptions, "destination" | "maxBytes">) {
  const complaints: string[] = [];
  const logger = pino({ level: "error" }, { write: (line: string) => complaints.push(JSON.parse(line).reason) });
  const audit = await openAudit({ ...options, logger });
  onTestFinished(() => audit.stop());
  const note = (target: string) =>
    audit.record({ action: "login", who: "operator", address: "127.0.0.1", target, outcome: "done" });
  return { audit, complaints, note };
}

const targetsIn = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => Number(JSON.parse(line).target));

it("the log begins anew where it has grown too large, keeps the one before, and loses no line between", async () => {
  const folder = newFolder();
  const path = join(folder, "audit.log");
  const maxBytes = 4096;
  const { audit, note, complaints } = await openLog({ destination: path, maxBytes });
  let count = 0;
  while (count < 2_000 && !existsSync(`${path}.1`)) {
    note(String(count++));
    await new Promise(setImmediate);
  }
  // It is still being moved.
  for (let more = 0; more < 5; more++) note(String(count++));
  await audit.stop();
  expect([...targetsIn(`${path}.1`), ...targetsIn(path)]).toEqual(Array.from({ length: count }, (_, index) => index));
  expect(statSync(`${path}.1`).size).toBeGreaterThanOrEqual(maxBytes);
  expect([statSync(path).mode & 0o777, complaints]).toEqual([0o600, []]);

  // What was there at the start counts.
  const again = await openLog({ destination: path, maxBytes: 1 });
  again.note("0");
  await expect.poll(() => targetsIn(`${path}.1`).at(-1)).toBe(0);
  await again.audit.stop();
  expect(readdirSync(folder).sort()).toEqual(["audit-traffic.log", "audit.log", "audit.log.1"]);
});

it.each(["command", "broadcast"] as const)("lines of each %s push no failed login out of the files", async (action) => {
  const path = join(newFolder(), "audit.log");
  const { audit, note } = await openLog({ destination: path, maxBytes: 4096 });
  note("1");
  for (let count = 0; count < 300; count++) {
    audit.record({ action, who: "user:eve", address: "127.0.0.1", target: "dashboard a.b", outcome: "done" });
    await new Promise(setImmediate);
  }
  await audit.stop();
  expect(targetsIn(path)).toEqual([1]);
  const traffic = join(path, "..", "audit-traffic.log");
  expect(readFileSync(traffic, "utf8")).toContain("user:eve");
  expect(existsSync(`${traffic}.1`)).toBe(true);
});

it("a pipe stays where it is, however much has gone through it", async () => {
  const path = join(newFolder(), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  onTestFinished(() => closeSync(reader));
  const { audit, note, complaints } = await openLog({ destination: path, maxBytes: 1 });
  note("first");
  note("second");
  await audit.stop();
  const bytes = Buffer.alloc(4096);
  expect(bytes.toString("utf8", 0, readSync(reader, bytes)).match(/first|second/g)).toEqual(["first", "second"]);
  expect([statSync(path).isFIFO(), complaints]).toEqual([true, []]);
});

it("that the disk is full is said once, and nobody is kept waiting for it", async () => {
  const { audit, note, complaints } = await openLog({ destination: "/dev/full", maxBytes: Number.POSITIVE_INFINITY });
  for (let count = 0; count < 100; count++) note(String(count));
  await expect.poll(() => complaints).toEqual([expect.stringContaining("ENOSPC")]);
  for (let count = 0; count < 100; count++) note(String(count));
  await audit.stop();
  expect(complaints).toHaveLength(1);
});

it("a flood of logins and refreshes that are turned away is not a flood of lines", async () => {
  const bridge = await startTestBridge({ env: { MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_LOGIN_FAILURES: "3" } });
  onTestFinished(() => bridge.stop());
  const post = (path: string, body: object) => bridge.call(path, { method: "POST", body });
  for (let times = 0; times < 30; times++) {
    await post("/auth/login", { user_id: "alice", password: "not the password" });
    await post("/auth/refresh", { refresh_token: "no refresh token" });
  }
  const outcomes = () =>
    readFileSync(join(bridge.dataPath, "audit.log"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line))
      .map(({ action, outcome }) => `${action} ${outcome}`);
  await post("/auth/token", { user_id: "alice", permissions: [] });
  await expect.poll(() => outcomes().at(-1)).toBe("token.mint done");
  // Each password that was tried, and of what was not looked at 20 lines.
  expect(outcomes().filter((text) => text === "login unauthorized")).toHaveLength(3);
  expect(outcomes()).toHaveLength(3 + 20 + 1);
});
