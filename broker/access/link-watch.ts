import type { Duplex } from "node:stream";

export interface LinkProbe {
  /** Sends a ping that the peer's protocol layer answers by itself. */
  ping(): void;
  /** Bytes received from the peer so far. */
  received(): number;
}

class SilentLinkError extends Error {
  override name = "SilentLinkError";
}

/**
 * Detects the death of a WebSocket client that has no keep-alive. MQTT 3.1.1 has no ping from the server, and a proxy
 * would answer the kernel's TCP probes. So a client that is silent for one interval is pinged, and is disconnected if
 * it stays silent for the next. Clients with a keep-alive are not pinged: each ping costs money on a metered link.
 */
export function watchLink(connection: Duplex, probe: LinkProbe, intervalMs: number): void {
  let receivedBefore = probe.received();
  let isPinged = false;
  const timer = setInterval(() => {
    const received = probe.received();
    const isSilent = received === receivedBefore;
    receivedBefore = received;
    if (isSilent && isPinged) {
      const why = `keep-alive 0, and no answer to a ping: nothing received for ${2 * intervalMs} ms`;
      connection.destroy(new SilentLinkError(why));
      return;
    }
    isPinged = isSilent;
    if (isSilent) probe.ping();
  }, intervalMs).unref();
  connection.once("close", () => clearInterval(timer));
}
