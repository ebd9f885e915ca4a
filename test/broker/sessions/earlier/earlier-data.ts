import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { connect, type MqttClient } from "mqtt";
import { expect } from "vitest";
import { startChildProgram } from "../../../support/child-program.ts";
import { type BrokerUnderTest, connected, NORTH, temporaryFolder, topic } from "../../broker-under-test.ts";
import type { TakeOverReport, TakeOverRequest } from "./take-over-child.ts";

const CHILD = "broker/sessions/earlier/take-over-child";
const DATA = fileURLToPath(new URL("data.tar.gz", import.meta.url));
export const EVENT = topic("cameras/north/events/capture.completed");
/** Sessions of the data are older than the time after which sessions are discarded. */
export const earlierEnv = { MQTT_SESSION_HOURS: "1000000", MQTT_HEARTBEAT_MS: "100" };

/** @returns a copy of the data that make-data.mjs has made with the version before the log */
export function earlierData(): string {
  const dataPath = temporaryFolder();
  execFileSync("tar", ["-xzf", DATA, "-C", dataPath]);
  return dataPath;
}

/** Starts the take-over in a process of its own. @param place as in take-over-child.ts */
export async function startTakeOver(place: string, request: TakeOverRequest, bytesInFile?: number) {
  const child = startChildProgram<TakeOverRequest, TakeOverReport>(CHILD, place);
  const reports: TakeOverReport[] = [];
  let look = () => {};
  child.onMessage((report) => {
    reports.push(report);
    look();
  });
  const reported = (kind: TakeOverReport["kind"]) =>
    Promise.race([
      new Promise<void>((resolve) => {
        look = () => {
          if (reports.at(-1)?.kind === kind) resolve();
        };
        look();
      }),
      child.ended.then((error) => Promise.reject(error)),
    ]);
  await reported("open");
  if (bytesInFile !== undefined) child.setDisk(bytesInFile);
  child.send(request);
  return { child, reports, reported };
}

/** Resolves to the last report when the process has ended. */
export async function takeOverInChild(place: string, request: TakeOverRequest, bytesInFile?: number) {
  const { child, reports } = await startTakeOver(place, request, bytesInFile);
  await child.ended;
  return reports.at(-1);
}

/** A session of the data, after its client has connected again. */
interface Rejoined {
  client: MqttClient;
  /** PUBLISH and PUBREL packets, in the order of their arrival. */
  packets: Packet[];
  /** Resolves when the publication has arrived. @returns the names and QoS of all publications */
  until(last: string): Promise<string[]>;
}

type Packet = { cmd: string; messageId?: number; dup?: boolean; retain?: boolean; name: string };

export async function rejoin(test: BrokerUnderTest, userId: string, clientId: string, permission = "camera:read") {
  const password = test.token([permission], 60_000, { userId });
  const client = connect(test.url, { reconnectPeriod: 0, username: userId, password, clientId, clean: false });
  const packets: Packet[] = [];
  let look = () => {};
  client.on("packetreceive", (packet) => {
    if (packet.cmd === "publish") packets.push({ ...packet, name: `${nameOf(String(packet.payload))} ${packet.qos}` });
    if (packet.cmd === "pubrel") packets.push({ ...packet, name: "PUBREL" });
    look();
  });
  const until = (last: string) =>
    new Promise<string[]>((resolve) => {
      look = () => {
        const names = packets.map(({ name }) => name);
        if (names.some((name) => name.startsWith(`${last} `)))
          resolve(names.filter((name, index) => name !== "PUBREL" || index === 0));
      };
      look();
    });
  await connected(client);
  return { client, packets, until } satisfies Rejoined;
}

/** The id of an event, or else the whole payload. */
export function nameOf(payload: string): string {
  return payload.startsWith("{") ? JSON.parse(payload).id : payload;
}

/** Checks that each session of the data gets exactly what it must, in order. */
export async function expectEverything(test: BrokerUnderTest): Promise<void> {
  const archive = await rejoin(test, "alice", "archive");
  const slow = await rejoin(test, "bob", "slow");
  const exact = await rejoin(test, "bob", "exact");
  const late = await rejoin(test, "dave", "late");
  const watch = await rejoin(test, "carol", "watch", "admin");
  await (await test.client(NORTH)).publishAsync(EVENT, JSON.stringify({ v: 1, id: "last" }), { qos: 2 });
  // The will of the client that was connected when the earlier version was killed.
  await watch.until("gone");
  const writer = { username: "carol", password: test.token(["admin"], 60_000, { userId: "carol" }) };
  await (await test.client(writer)).publishAsync("garden/a", "last", { qos: 1 });

  const accepted = ["u2 2", "u3 1", "last 2"];
  const queued = ["e1 2", "e2 1", "e3 2", "e4 1", "e5 2", "s1 1", "e6 2", "e7 2"];
  expect(await archive.until("last")).toEqual([...queued, ...accepted]);
  expect(await late.until("last")).toEqual(["e6 2", "e7 2", ...accepted]);
  const slowly = ["e1 1", "e3 1", "e4 1", "e5 1", "e6 1", "e7 1", "u2 1", "u3 1", "last 1"];
  expect(await slow.until("last")).toEqual(slowly);
  expect(slow.packets.map(({ dup }) => dup).slice(0, 3)).toEqual([true, true, false]);
  expect(await exact.until("last")).toEqual(["PUBREL", "e2 1", "e3 2", "e4 1", "e5 2", "e6 2", "e7 2", ...accepted]);
  const [pubrel, e2, e3, e4] = exact.packets;
  // The version before gave consecutive ids.
  const id = pubrel?.messageId ?? 0;
  expect([e2?.messageId, e3?.messageId]).toEqual([id + 1, id + 2]);
  expect([e2?.dup, e3?.dup, e4?.dup]).toEqual([true, true, false]);
  expect(await watch.until("last")).toEqual(["1 1", "on 1", "slow 1", " 1", "2 1", "gone 1", "last 1"]);
  expect(watch.packets.some(({ retain }) => retain)).toBe(false);
}
