import { once } from "node:events";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { expect, it, onTestFinished } from "vitest";
import { launchBrowser } from "../../support/browser.ts";
import { bundleSize } from "../../support/bundle-size.ts";
import { serve } from "../support/harness.ts";
import type { ProtocolServer } from "../support/protocol-server.ts";
import type { CachedPage } from "./cached-page.ts";

declare const cached: CachedPage;

const CAMERAS = 500;
const AT = "2026-03-01T06:00:00.000Z";
const STATES = {
  presence: { status: "online", since: AT, session: "s1", last_heard_at: AT },
  storage: { total_bytes: 64e9, free_bytes: 32e9 },
  power: { source: "solar", battery_percent: 81 },
  environment: { sun_elevation: 12.5, sun_azimuth: 140, temperature_c: -4.5, humidity_percent: 60 },
  resources: { cpu_percent: 3, memory_bytes: 90e6, temperature_c: 41 },
  settings: { exposure_s: 0.01, iso: 100, white_balance: "auto", quality: 90 },
  schedule: { entries: [{ kind: "clock", start: "06:00", end: "20:00", interval_s: 30 }] },
  capture: { active: true, next_capture_at: AT, captures_completed: 120 },
  gaps: { gaps: [] },
};

function publishFleet(server: ProtocolServer): void {
  for (let index = 0; index < CAMERAS; index++) {
    const camera = `camera-${index}`;
    for (const [name, data] of Object.entries(STATES))
      server.publish({ event: "state.updated", camera, topic: `cameras/${camera}/state/${name}`, data });
  }
}

async function servePage(): Promise<string> {
  const { code } = await bundleSize(fileURLToPath(new URL("cached-page.ts", import.meta.url)));
  const files = createServer((request, response) => {
    const isScript = request.url === "/page.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? code : '<!doctype html><script type="module" src="/page.js"></script>');
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void files.close());
  await once(files, "listening");
  const address = files.address();
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
}

it("the cache of a browser holds 500 cameras, shows them without a server, and resumes from their position", async () => {
  const server = await serve();
  publishFleet(server);
  const [origin, { browser, end }] = await Promise.all([servePage(), launchBrowser()]);
  onTestFinished(end);
  const page = await browser.newPage();
  await page.goto(`${origin}/?server=${server.url}`);
  await page.waitForFunction((count) => cached.store.getSnapshot().cameras.size === count, CAMERAS);
  const head = server.head;
  await page.waitForFunction(
    (position) =>
      new Promise((resolve) => {
        const opening = indexedDB.open("skylapse-cache");
        opening.onsuccess = () => {
          const rows = opening.result.transaction("rows").objectStore("rows");
          const request = rows.get(["skylapse:dashboard", "head"]);
          request.onsuccess = () => {
            opening.result.close();
            resolve(request.result?.cursor?.position === position);
          };
        };
      }),
    head,
  );
  const connections = server.connections.length;
  await page.goto(`${origin}/?server=ws://127.0.0.1:9/ws`);
  await page.waitForFunction(() => cached.loadedAfterMs !== undefined);
  const shown = await page.evaluate(() => {
    const { live, asOf, cameras } = cached.store.getSnapshot();
    const [storage, environment] = [cameras.get("camera-499")?.storage, cameras.get("camera-7")?.environment];
    return { live, hasTime: asOf !== undefined, size: cameras.size, storage, environment, ms: cached.loadedAfterMs };
  });
  console.log(`${CAMERAS} cameras from the cache after ${Math.round(Number(shown.ms))} ms`);
  expect(shown).toMatchObject({ live: false, hasTime: true, size: CAMERAS, storage: { value: STATES.storage } });
  expect(shown.environment?.value).toEqual(STATES.environment);
  await page.goto(`${origin}/?server=${server.url}`);
  const connection = await server.connection(connections);
  expect((await connection.next("subscribe")).since).toEqual({ epoch: "first", position: head });
});
