import type { ReactNode } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatLatency } from "../text/format.ts";
import { useNow } from "../use-now.ts";

const BARS = { excellent: 4, good: 3, fair: 2, poor: 1, unknown: 0 };

export function ConnectionPill({ data }: { data: RealTimeData }): ReactNode {
  const now = useNow();
  const { connection, live } = data;
  const { status, quality, latencyMs } = connection;
  const title = status === "connected" ? `Connection ${quality}` : connection.cause?.reason;
  return (
    <div
      className="pill connection"
      data-testid="connection-state"
      data-status={status}
      data-live={live}
      data-tone={live ? "good" : status === "disconnected" ? "bad" : "warn"}
      title={title}
      role="status"
    >
      <span className="dot" aria-hidden="true" />
      <span>{words(data, now)}</span>
      {status === "connected" && latencyMs !== undefined && (
        <>
          <span className="connection-latency">{formatLatency(latencyMs)}</span>
          <span className="bars" data-bars={BARS[quality]} role="img" aria-label={`${quality} connection`}>
            <i />
            <i />
            <i />
            <i />
          </span>
        </>
      )}
    </div>
  );
}

function words({ connection, live, loaded }: RealTimeData, now: number): string {
  switch (connection.status) {
    case "connected":
      return live ? "Live" : loaded ? "Catching up…" : "Loading…";
    case "connecting": {
      if (connection.retryAt === undefined) return connection.cause === undefined ? "Connecting…" : "Reconnecting…";
      const seconds = Math.ceil((connection.retryAt - now) / 1000);
      return seconds > 0 ? `Reconnecting in ${seconds} s` : "Reconnecting…";
    }
    case "disconnected":
      return "Disconnected";
  }
}
