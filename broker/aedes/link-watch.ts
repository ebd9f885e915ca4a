import type { Duplex } from "node:stream";
import { SilentLinkError } from "./errors.ts";

export interface LinkProbe {
  /** Asks the peer for a sign of life that costs its program nothing, as a WebSocket ping does. */
  ping(): void;
  /** Bytes that have come from the peer. */
  received(): number;
}

/**
 * Ends a connection whose peer is gone though it promised no keep-alive. MQTT 3.1.1 has no ping from the server, so the
 * layer below must tell: over TCP and TLS the kernel probes a connection that is silent (see `listeners.ts`); over WebSocket, where
 * a proxy answers the kernel's probes, this asks the client itself. A client that is silent for one interval is asked, and
 * one that does not answer within the next is cut. Clients with a keep-alive are not asked: on a metered link each ping costs.
 */
export function watchLink(connection: Duplex, probe: LinkProbe, intervalMs: number): void {
  let before = probe.received();
  let asked = false;
  const timer = setInterval(() => {
    const received = probe.received();
    const isSilent = received === before;
    before = received;
    if (isSilent && asked) {
      connection.destroy(new SilentLinkError(`no sign of life for ${2 * intervalMs} ms, pinged and with keep-alive 0`));
      return;
    }
    asked = isSilent;
    if (isSilent) probe.ping();
  }, intervalMs).unref();
  connection.once("close", () => clearInterval(timer));
}
