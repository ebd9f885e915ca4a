import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { Journal } from "../../../bridge/journal/journal.ts";
import type { Damage } from "../../../platform/level/damage.ts";
import type { MqttLog } from "../../../platform/publication-log.ts";
import { asLeftBehind } from "../../bridge/journal/level-place.ts";
import { temporaryFolder } from "../broker-under-test.ts";
import { drain, openSessions } from "./sessions-over-journal.ts";

const SESSIONS = 12;
const PUBLICATIONS = 120;
/** Places of each file at which bytes are flipped. */
const PLACES = Number(process.env.FLIPPED_PLACES ?? 3);

const owner = (n: number) => ({ identity: `user:u${n}`, permissions: ["dashboard:read"] });
const keyOf = (n: number) => `user:u${n}\u001fviewer`;
/** Text that LevelDB cannot compress much. */
const noise = (seed: number, repeats: number) =>
  Array.from({ length: repeats }, (_, n) => Math.sin(seed * 1_000 + n).toString(36)).join("");
const topicOf = (n: number) => `cameras/c${n % SESSIONS}/events/x`;

async function publish(journal: Journal, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) {
    const topic = topicOf(n);
    const origin = { sender: "device:north", id: `id${n}`, session: undefined, seq: undefined };
    const payload = Buffer.from(`${n} ${noise(n, 30)}`);
    const publication = { payload, qos: 1 as const, retain: false };
    await journal.append({
      ...{
        topic,
        channels: [`camera:c${n % SESSIONS}`],
        camera: undefined,
        body: `"n":${n}`,
        state: undefined,
        origin,
      },
      publish: publication,
    });
  }
}

let folder: string;
let image: string;

/** Sessions and publications in a table, and in the log of a program that is killed. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "flipped-bytes-"));
  const path = join(folder, "journal");
  for (const [first, last] of [
    [0, SESSIONS / 2],
    [SESSIONS / 2, SESSIONS],
  ] as const) {
    const { journal, sessions } = await openSessions(path);
    for (let n = first; n < last; n++) {
      const session = sessions.keep(keyOf(n), owner(n));
      sessions.subscribe(session, `cameras/c${n}/#`, { qos: n % 2 === 0 ? 1 : 2 });
      sessions.subscribe(session, `other/${noise(-n, 100)}`, { qos: 1 });
    }
    await sessions.flush();
    await publish(journal, first * 10 + 1, last * 10);
    if (last < SESSIONS) {
      await sessions.stop();
      await journal.close();
      continue;
    }
    const copy = join(path, "rows.copy");
    await vi.waitFor(() => expect(readFileSync(copy, "utf8")).toContain(`u${SESSIONS - 1}`));
    image = join(folder, "image");
    cpSync(path, image, { recursive: true });
    await sessions.stop();
    await journal.close();
  }
});

afterAll(() => rmSync(folder, { recursive: true }));

async function heldBy(log: MqttLog): Promise<number[][]> {
  const held: number[][] = Array.from({ length: SESSIONS }, () => []);
  for (let after = 0; after < log.publications.head; ) {
    const { publications, next } = await log.publications.scan(after);
    for (const { topic, payload } of publications)
      held[Number(/c(\d+)/.exec(topic)?.[1])]?.push(Number(payload.toString().split(" ")[0]));
    after = next;
  }
  return held;
}

/** Starts with damaged files: every session exists and gets what the journal holds, and what is missing is told. */
async function check(name: string, damage: (path: string) => unknown) {
  const path = join(temporaryFolder(), "journal");
  cpSync(image, path, { recursive: true });
  await asLeftBehind(path);
  await damage(path);
  const found: Damage[] = [];
  const logged: string[] = [];
  const { journal, log, sessions, missed } = await openSessions(path, { found, logged });
  const held = await heldBy(log);
  const { epoch } = journal;
  const told = `${name}: ${JSON.stringify(found)} ${logged.join("")}`;
  for (let n = 0; n < SESSIONS; n++) {
    const session = sessions.get(keyOf(n));
    if (session === undefined) throw new Error(`session ${n} is lost: ${told}`);
    const payloads = await drain(session, log.publications.head);
    const sent = payloads.map((payload) => Number(payload.split(" ")[0]));
    // Session n was created before publication n * 10 at the latest.
    const expected = (held[n] ?? []).filter((number) => number > (n < SESSIONS / 2 ? 0 : SESSIONS * 5));
    expect(sent, told).toEqual(expected);
    const published = Array.from({ length: PUBLICATIONS }, (_, index) => index + 1).filter(
      (number) => number % SESSIONS === n && number > (n < SESSIONS / 2 ? 0 : SESSIONS * 5),
    );
    if (sent.length < published.length) expect(missed, told).toContain(keyOf(n));
  }
  await sessions.stop();
  await journal.close();
  rmSync(path, { recursive: true });
  return { report: found.map(({ missing }) => missing).join("; "), missed, epoch };
}

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  for (let index = at; index < Math.min(at + 8, bytes.length); index++) bytes[index] = (bytes[index] ?? 0) ^ 0xff;
  writeFileSync(file, bytes);
}

test("no session is lost when bytes are flipped anywhere, and each gets what the journal holds", async () => {
  expect(await check("intact", () => {})).toMatchObject({ report: "", missed: [] });
  const files = [
    "rows.copy",
    ...readdirSync(join(image, "log"))
      .filter((name) => /\.(ldb|log)$|MANIFEST/.test(name))
      .map((name) => `log/${name}`),
  ];
  expect(files.join()).toMatch(/\.ldb.*\.log|\.log.*\.ldb/);
  const reports: string[] = [];
  for (const file of files) {
    const { length } = readFileSync(join(image, file));
    for (let place = 0; place < PLACES && length > 0; place++) {
      const at = Math.floor((length * (place + 0.5)) / PLACES);
      reports.push((await check(`${file} at ${at}`, (path) => flip(join(path, file), at))).report);
    }
  }
  expect(reports.join()).toMatch(/restored from the copy/);
});

test("no session is lost when the program ends between the repair of the store and the restoration", async () => {
  const { report } = await check("doubt", async (path) => {
    const db = new ClassicLevel(join(path, "log"));
    await db.clear({ gte: "c", lt: "d" });
    await db.close();
    writeFileSync(join(path, "rows.doubt"), "");
  });
  expect(report).toMatch(/restored from the copy/);
});

/** Flips bytes of a table where the text is. */
function flipIn(path: string, text: string): void {
  for (const name of readdirSync(join(path, "log")).filter((one) => one.endsWith(".ldb"))) {
    const at = readFileSync(join(path, "log", name)).indexOf(text);
    if (at === -1) continue;
    flip(join(path, "log", name), at);
    return;
  }
  throw new Error(`no table has the text ${text}`);
}

test("lost rows of the log only are reported as such: the epoch stays, and only affected sessions are named", async () => {
  const { epoch } = await check("intact", () => {});
  const sessions = await check("session", (path) => flipIn(path, noise(-3, 40).slice(-12)));
  expect(sessions).toMatchObject({ epoch, missed: [] });
  expect(sessions.report).toMatch(/^no event is missing; nothing: \d+ rows of MQTT sessions and wills are restored/);
  const publications = await check("publication", (path) => flipIn(path, noise(30, 20).slice(-12)));
  expect(publications.epoch).toBe(epoch);
  expect(publications.report).toBe(
    "no event is missing; messages of MQTT sessions may be missing: the log names the sessions",
  );
  // Only these sessions existed when the publications were made.
  expect(publications.missed).toEqual(Array.from({ length: SESSIONS / 2 }, (_, n) => keyOf(n)));
});
