import { sendEvents } from "../support/fleet-stream.ts";
import { type Frames, measureFrames, scrollFor } from "../support/page-frames.ts";
import type { BenchOptions, Row, Sample } from "./row.ts";
import { onFleetPage } from "./servers/fleet-page.ts";

const EVENTS_PER_SECOND = 2000;
const SHOWN_CAMERAS = 50;
const SCROLLED_CAMERAS = 500;
const FRAMES_TARGET = { atLeast: 50 };

export const pageFrames: Row = {
  name: "page-frames",
  title: `the page at ${EVENTS_PER_SECOND.toLocaleString("en")} events a second, and while it scrolls`,
  method: ({ seconds }) =>
    `${seconds} s each, in headless Chromium without a graphics card. Events of ${SHOWN_CAMERAS} cameras, all of which are ` +
    `shown in 2560 × 1440; then ${SCROLLED_CAMERAS} cameras, which are scrolled by 40 pixels a frame in 1280 × 800. Busy ` +
    "is the processor's time of the page's main thread: other programs of the machine do not change it.",
  figures: [
    { key: "eventFrames", label: "at events", unit: "frames/s", target: FRAMES_TARGET },
    { key: "eventP95Ms", label: "… p95 between two frames", unit: "ms" },
    { key: "eventBusyMs", label: "… busy a frame", unit: "ms" },
    { key: "scrollFrames", label: "scrolled", unit: "frames/s", target: FRAMES_TARGET },
    { key: "scrollP95Ms", label: "… p95 between two frames", unit: "ms" },
    { key: "scrollBusyMs", label: "… busy a frame", unit: "ms" },
  ],
  sides: (options) => [{ name: "Skylapse", measure: () => measure(options) }],
};

async function measure({ seconds }: BenchOptions): Promise<Sample> {
  const rate = { perSecond: EVENTS_PER_SECOND, seconds, cameras: SHOWN_CAMERAS };
  const events = await onFleetPage(SHOWN_CAMERAS, { width: 2560, height: 1440 }, async ({ page, gateway }) =>
    sampleOf("event", await measureFrames(page, seconds * 1000, () => sendEvents(gateway, rate))),
  );
  const scrolled = await onFleetPage(SCROLLED_CAMERAS, { width: 1280, height: 800 }, async ({ page }) =>
    sampleOf("scroll", await measureFrames(page, seconds * 1000, () => scrollFor(page, seconds * 1000))),
  );
  return { ...events, ...scrolled };
}

function sampleOf(name: string, { perSecond, p95, busyMs, count }: Frames): Sample {
  return { [`${name}Frames`]: perSecond, [`${name}P95Ms`]: p95, [`${name}BusyMs`]: busyMs / count };
}
