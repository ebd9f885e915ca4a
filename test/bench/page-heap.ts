import type { Page } from "playwright-core";
import { sendEvents } from "../support/fleet-stream.ts";
import type { BenchOptions, Row, Sample } from "./row.ts";
import { onFleetPage } from "./servers/fleet-page.ts";

const CAMERAS = 50;
const PER_SECOND = 200;
/** Fills the lists of the last events, which have a fixed length. */
const WARM_UP_SECONDS = 10;

function minutes({ quick }: BenchOptions): number {
  return quick ? 1 : 10;
}

export const pageHeap: Row = {
  name: "page-heap",
  title: `memory of the page, open at ${PER_SECOND} events a second`,
  method: (options) =>
    `The JavaScript heap after garbage collection, ${WARM_UP_SECONDS} s after the start and ${minutes(options)} minutes ` +
    `later. ${CAMERAS} cameras send in turn.`,
  figures: [
    { key: "startMb", label: "heap at the start", unit: "MB" },
    { key: "endMb", label: "heap at the end", unit: "MB" },
    { key: "growthMb", label: "heap grows by", unit: "MB", target: { atMost: 1 } },
  ],
  maxRounds: 1,
  sides: (options) => [{ name: "Skylapse", measure: () => measure(options) }],
};

function measure(options: BenchOptions): Promise<Sample> {
  return onFleetPage(CAMERAS, { width: 1280, height: 800 }, async ({ page, gateway }) => {
    const send = (seconds: number) => sendEvents(gateway, { perSecond: PER_SECOND, seconds, cameras: CAMERAS });
    await send(WARM_UP_SECONDS);
    const start = await heapBytes(page);
    await send(minutes(options) * 60);
    const end = await heapBytes(page);
    return { startMb: start / 1e6, endMb: end / 1e6, growthMb: (end - start) / 1e6 };
  });
}

async function heapBytes(page: Page): Promise<number> {
  const debug = await page.context().newCDPSession(page);
  // The second collection frees what the finalizers of the first one released.
  for (let time = 0; time < 2; time++) await debug.send("HeapProfiler.collectGarbage");
  const { usedSize } = await debug.send("Runtime.getHeapUsage");
  await debug.detach();
  return usedSize;
}
