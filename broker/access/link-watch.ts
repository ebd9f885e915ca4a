import type { Duplex } from "node:stream";

export interface LinkProbe {
  /** Makes the peer's protocol layer answer without involving its application, as a WebSocket ping does. */
  ping(): void;
  /** Bytes received from the peer so far. */
  received(): number;
}

/** A client without a keep-alive did not answer a ping. */
class SilentLinkError extends Error {
  override name = "SilentLinkError";
}

/**
 * Closes the connection of a dead peer that has no keep-alive. MQTT 3.1.1 has no ping from the server, so the layer
 * below must detect the dead peer. Over TCP and TLS the kernel probes a silent connection (see `listeners.ts`). Over
 * WebSocket a proxy answers the kernel's probes, so the broker pings the client itself: a client that is silent for one
 * interval is pinged, and one that does not answer within the next interval is disconnected. Clients with a keep-alive
 * are not pinged, because each ping costs money on a metered link.
 */
export function watchLink(connection: Duplex, probe: LinkProbe, intervalMs: number): void {
  let receivedBefore = probe.received();
  let isPinged = false;
  const timer = setInterval(() => {
    const received = probe.received();
    const isSilent = received === receivedBefore;
    receivedBefore = received;
    if (isSilent && isPinged) {
      connection.destroy(
        new SilentLinkError(`keep-alive 0, and no answer to a ping: nothing received for ${2 * intervalMs} ms`),
      );
      return;
    }
    isPinged = isSilent;
    if (isSilent) probe.ping();
  }, intervalMs).unref();
  connection.once("close", () => clearInterval(timer));
}
