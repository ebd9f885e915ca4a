import { MOUNTAIN_LINK, measureFirstLoad } from "../support/first-load.ts";
import type { Row, Sample } from "./row.ts";
import { withBrowser } from "./servers/fleet-page.ts";

const { bytesPerS, roundTripMs } = MOUNTAIN_LINK;
const CAMERAS = 2;

export const pageLoad: Row = {
  name: "page-load",
  title: `the first load of the page at ${bytesPerS / 1024} KiB/s and ${roundTripMs} ms, with an empty cache`,
  method: () =>
    `Until the first of ${CAMERAS} simulated cameras is shown, without its picture. Through a TCP proxy: all connections ` +
    "together have the rate, in each direction, and a new connection waits for a round trip. Bytes are those of the TCP " +
    "connections: with headers of HTTP, as they were compressed.",
  figures: [
    { key: "firstCardSeconds", label: "until the first camera", unit: "s", target: { atMost: 20 } },
    { key: "bytes", label: "bytes until then", unit: "B" },
    { key: "scriptBytes", label: "… scripts", unit: "B" },
    { key: "styleBytes", label: "… styles", unit: "B" },
    { key: "restBytes", label: "… rest: page, token, states", unit: "B" },
    { key: "requests", label: "requests until then", unit: "" },
  ],
  sides: () => [{ name: "Skylapse", measure }],
};

function measure(): Promise<Sample> {
  return withBrowser({ SIMULATOR: String(CAMERAS) }, async ({ http }, browser) => {
    const port = Number(new URL(http).port);
    const { firstCardMs, requests, ...bytes } = await measureFirstLoad(browser, port, MOUNTAIN_LINK);
    const sum = bytes.scriptBytes + bytes.styleBytes + bytes.restBytes;
    return { firstCardSeconds: firstCardMs / 1000, bytes: sum, ...bytes, requests: requests.length };
  });
}
