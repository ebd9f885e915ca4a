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

/** Opens an audit log. `failures` contains the reasons of the errors that the audit log reports in the log. */
async function openLog(options: Pick<AuditOptions, "destination" | "maxBytes">) {
  const failures: string[] = [];
  const logger = pino({ level: "error" }, { write: (line: string) => failures.push(JSON.parse(line).reason) });
  const audit = await openAudit({ ...options, logger });
  onTestFinished(() => audit.stop());
  const record = (target: string) =>
    audit.record({ action: "login", who: "operator", address: "127.0.0.1", target, outcome: "done" });
  return { audit, failures, record };
}

const targetsIn = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => Number(JSON.parse(line).target));

it("the audit log starts a new file above the size limit, keeps the previous file, and loses no line", async () => {
  const folder = newFolder();
  const path = join(folder, "audit.log");
  const maxBytes = 4096;
  const { audit, record, failures } = await openLog({ destination: path, maxBytes });
  let count = 0;
  while (count < 2_000 && !existsSync(`${path}.1`)) {
    record(String(count++));
    await new Promise(setImmediate);
  }
  // Records more lines while the stream may still be opening the new file.
  for (let more = 0; more < 5; more++) record(String(count++));
  await audit.stop();
  expect([...targetsIn(`${path}.1`), ...targetsIn(path)]).toEqual(Array.from({ length: count }, (_, index) => index));
  expect(statSync(`${path}.1`).size).toBeGreaterThanOrEqual(maxBytes);
  expect([statSync(path).mode & 0o777, failures]).toEqual([0o600, []]);

  // The limit also applies to lines that were in the file before it was opened.
  const reopened = await openLog({ destination: path, maxBytes: 1 });
  reopened.record("0");
  await expect.poll(() => targetsIn(`${path}.1`).at(-1)).toBe(0);
  await reopened.audit.stop();
  expect(readdirSync(folder).sort()).toEqual(["audit-traffic.log", "audit.log", "audit.log.1"]);
});

it.each(["command", "broadcast"] as const)(
  "the audit log keeps a failed login, however many lines of the action %s follow",
  async (action) => {
    const path = join(newFolder(), "audit.log");
    const { audit, record } = await openLog({ destination: path, maxBytes: 4096 });
    record("1");
    const traffic = join(path, "..", "audit-traffic.log");
    // Lines are written in batches, so their number at the rotation depends on the disk.
    while (!existsSync(`${traffic}.1`)) {
      audit.record({ action, who: "user:eve", address: "127.0.0.1", target: "dashboard a.b", outcome: "done" });
      await new Promise(setImmediate);
    }
    await audit.stop();
    expect(targetsIn(path)).toEqual([1]);
    expect(readFileSync(`${traffic}.1`, "utf8")).toContain("user:eve");
  },
);

it("the audit log does not rename a pipe, however much is written", async () => {
  const path = join(newFolder(), "pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  onTestFinished(() => closeSync(reader));
  const { audit, record, failures } = await openLog({ destination: path, maxBytes: 1 });
  record("first");
  record("second");
  await audit.stop();
  const bytes = Buffer.alloc(4096);
  expect(bytes.toString("utf8", 0, readSync(reader, bytes)).match(/first|second/g)).toEqual(["first", "second"]);
  expect([statSync(path).isFIFO(), failures]).toEqual([true, []]);
});

it("the audit log reports a full disk once, and still stops", async () => {
  const { audit, record, failures } = await openLog({ destination: "/dev/full", maxBytes: Number.POSITIVE_INFINITY });
  for (let count = 0; count < 100; count++) record(String(count));
  await expect.poll(() => failures).toEqual([expect.stringContaining("ENOSPC")]);
  for (let count = 0; count < 100; count++) record(String(count));
  await audit.stop();
  expect(failures).toHaveLength(1);
});

it("the audit log writes few lines for a flood of refused logins and refreshes", async () => {
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
  // One line for each checked password, 20 for the other refusals, and one for the minted token.
  expect(outcomes().filter((text) => text === "login unauthorized")).toHaveLength(3);
  expect(outcomes()).toHaveLength(3 + 20 + 1);
});
