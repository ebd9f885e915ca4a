import { fileURLToPath } from "node:url";
import { bundleSize } from "../support/bundle-size.ts";
import type { Row, Sample } from "./row.ts";
import { packageVersion } from "./servers/package-version.ts";

const OURS = fileURLToPath(new URL("../../dashboard-client/client/index.js", import.meta.url));

export const packageSizes: Row = {
  name: "page-sizes",
  title: "what a web page downloads for its client library",
  method: () =>
    "Every export of the library, bundled and minified by Vite, then compressed by gzip (level 6). The library of Skylapse " +
    `is skylapse-realtime/client, without React. Peers: centrifuge ${packageVersion("centrifuge")} and ` +
    `socket.io-client ${packageVersion("socket.io-client")}, as their packages offer them to bundlers. The peers can do ` +
    "other things, too: Socket.IO falls back to HTTP long-polling, centrifuge to HTTP streaming.",
  figures: [
    { key: "gzipBytes", label: "client library, gzip", unit: "B", target: { atMost: 12_000 } },
    { key: "bytes", label: "client library", unit: "B" },
  ],
  sides: () => [
    { name: "Skylapse", measure: () => measure(OURS) },
    { name: "centrifuge-js", measure: () => measure("centrifuge") },
    { name: "socket.io-client", measure: () => measure("socket.io-client") },
  ],
};

async function measure(entry: string): Promise<Sample> {
  const { gzipBytes, bytes } = await bundleSize(entry);
  return { gzipBytes, bytes };
}
