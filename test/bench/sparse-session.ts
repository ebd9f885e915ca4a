// A session that is away for a week and wants little, behind the traffic of all cameras; and the memory of many sessions.
// Usage: node dist/test/bench/sparse-session.js [hours of 50 events a second, default 7: a 24th of 168]

import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { pino } from "pino";
import { openLevelJournal } from "../../bridge/journal/stores/level/level.ts";
import { LogSessions } from "../../broker/sessions/log-sessions.ts";
import type { SessionDelivery } from "../../broker/sessions/session-delivery.ts";
import type { LogSession } from "../../broker/sessions/session-record.ts";

const EVENTS_PER_SECOND = 50;
const PAYLOAD_BYTES = 300;
/** One command for the session's camera among this many events: one in 200 seconds. */
const COMMAND_EVERY = 10_000;
const BATCH = 250;
const SESSIONS = 10_000;

const hours = Number(process.argv[2] ?? 7);
const events = hours * 3600 * EVENTS_PER_SECOND;
const folder = await mkdtemp(join(tmpdir(), "sparse-session-"));
const logger = pino({ level: "info" }, { write: (line: string) => process.stdout.write(line) });

async function open() {
  const retention = { retentionEvents: 10_000, retentionHours: 24 };
  const startedAt = performance.now();
  const journal = await openLevelJournal({ path: join(folder, "journal"), sync: false, logger, ...retention });
  const openedAt = performance.now();
  const log = journal.mqtt;
  if (log === undefined) throw new Error("the journal keeps no log");
  const sessions = new LogSessions({
    ...{ log, logger, wantsReceipt: () => false, now: Date.now },
    ...{ maxOfflineMessages: 10_000, maxOfflineBytes: 33_554_432 },
    ...{ maxOfflineLogBytes: 1_073_741_824, maxOfflineHours: 168, maxShareGroups: 10, maxShareGroupsPerUser: 10 },
    permissionsOf: () => ({
      ...{ grants: { permissions: [] } as never, mayReceive: () => true, mayRead: () => true },
      ...{ subscribeProblem: () => undefined, decidePublish: () => ({ kind: "plain" }) as const },
    }),
  });
  await sessions.load();
  const [openMs, loadMs] = [openedAt - startedAt, performance.now() - openedAt].map(Math.round);
  return { journal, log, sessions, openMs, loadMs };
}

async function sizeOf(path: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const name = join(path, entry.name);
    bytes += entry.isDirectory()
      ? await sizeOf(name)
      : await stat(name).then(
          ({ size }) => size,
          () => 0,
        );
  }
  return bytes;
}

const megabytes = (bytes: number) => Math.round(bytes / 1024 ** 2);
const report = (what: string, figures: object) => process.stdout.write(`${what}: ${JSON.stringify(figures)}\n`);

function memory() {
  globalThis.gc?.();
  const { rss, heapUsed } = process.memoryUsage();
  return { rssMB: megabytes(rss), heapMB: megabytes(heapUsed) };
}

const OWNER = { identity: "service:archive", permissions: ["dashboard:read"] };

function add(sessions: LogSessions, key: string, filter: string): LogSession {
  const session = sessions.keep(key, OWNER);
  sessions.subscribe(session, filter, { qos: 1 });
  return session;
}

/** @returns milliseconds until the client has everything */
async function drain(session: LogSession): Promise<{ received: number; ms: number }> {
  const startedAt = performance.now();
  let received = 0;
  await new Promise<void>((resolve) => {
    const connection = {
      isFull: false,
      mayReceive: () => true,
      send: ({ messageId, onWritten }: SessionDelivery) => {
        received++;
        setImmediate(() => {
          onWritten();
          session.cursor.acknowledge(connection, messageId);
        });
      },
    };
    session.cursor.connect(connection);
    session.cursor.start(connection);
    const timer = setInterval(() => {
      if (!session.cursor.isLive || session.cursor.open > 0) return;
      clearInterval(timer);
      resolve();
    }, 1);
  });
  return { received, ms: Math.round(performance.now() - startedAt) };
}

try {
  let { journal, log, sessions } = await open();
  add(sessions, "sparse", "cameras/c0/commands/#");
  await sessions.flush();
  report("before", memory());
  // Text that does not repeat nearby: LevelDB's compression gains little.
  const text = Buffer.from(randomBytes(3 * PAYLOAD_BYTES * 1_000).toString("base64"));
  const payloadOf = (n: number) => text.subarray((n % 3_000) * PAYLOAD_BYTES, ((n % 3_000) + 1) * PAYLOAD_BYTES);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const startedAt = performance.now();
  let peakBytes = 0;
  for (let sent = 0; sent < events; sent += BATCH) {
    const appends = Array.from({ length: BATCH }, (_, index) => {
      const n = sent + index;
      const topic = n % COMMAND_EVERY === 0 ? "cameras/c0/commands/set" : `cameras/c${n % 50}/events/x`;
      return log.append({ topic, payload: payloadOf(n), qos: 1, retain: false });
    });
    await Promise.all(appends);
    if (sent % 50_000 === 0) peakBytes = Math.max(peakBytes, await sizeOf(folder));
  }
  const { user, system } = process.cpuUsage();
  report("written", {
    ...{ events, seconds: Math.round((performance.now() - startedAt) / 1000), cpuS: Math.round((user + system) / 1e6) },
    ...{ diskMB: megabytes(await sizeOf(folder)), peakMB: megabytes(peakBytes), ...memory() },
  });
  // The rest of the compaction, without writes beside it.
  delay.enable();
  for (let before = -1; before !== sessions.bounds.bytes; await new Promise((resolve) => setTimeout(resolve, 6_000)))
    before = sessions.bounds.bytes;
  delay.disable();
  report("settled", {
    ...{ logMB: megabytes(sessions.bounds.bytes), diskMB: megabytes(await sizeOf(folder)), ...memory() },
    ...{ longestTurnMs: Math.round(delay.max / 1e6), p99Ms: Math.round(delay.percentile(99) / 1e6) },
  });
  await sessions.stop();
  await journal.close();
  const again = await open();
  ({ journal, log, sessions } = again);
  report("start", { openMs: again.openMs, loadMs: again.loadMs, diskMB: megabytes(await sizeOf(folder)), ...memory() });
  const sparse = sessions.get("sparse");
  if (sparse !== undefined) report("back", { ...(await drain(sparse)), expected: Math.ceil(events / COMMAND_EVERY) });
  for (const [what, filterOf] of [
    ["sessions with equal filters", () => "cameras/#"],
    ["sessions with different filters", (n: number) => `cameras/c${n}/#`],
  ] as const) {
    const before = process.memoryUsage().heapUsed;
    for (let n = 0; n < SESSIONS; n++) add(sessions, `${what} ${n}`, filterOf(n));
    await sessions.flush();
    globalThis.gc?.();
    report(what, { sessions: SESSIONS, bytesEach: Math.round((process.memoryUsage().heapUsed - before) / SESSIONS) });
  }
  await sessions.stop();
  await journal.close();
  const many = await open();
  report("start with all", { openMs: many.openMs, loadMs: many.loadMs, ...memory() });
  await many.sessions.stop();
  await many.journal.close();
} finally {
  await rm(folder, { recursive: true, force: true });
}
