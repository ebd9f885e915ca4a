import type { ReactNode } from "react";
import { CloseCode } from "../../../contract/codes.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatAge, formatTime } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { useRefusedOrigin } from "../use-refused-origin.ts";

/**
 * Warns that the page is not live, and says how old its data is. Renders nothing while the page is live, or is loading
 * for the first time.
 */
export function OfflineBanner({ data, base }: { data: RealTimeData; base: string }): ReactNode {
  const now = useNow();
  const refused = useRefusedOrigin(base, data.connection);
  const { connection, live, loaded, asOf } = data;
  if (live || (connection.cause === undefined && !loaded)) return null;
  const connected = connection.status === "connected";
  return (
    <div className="banner" data-testid="offline-banner" role="alert" data-stopped={connection.stopped}>
      <div className="banner-words">
        <strong>
          {connected
            ? "Connected again"
            : refused === undefined
              ? headline(data)
              : "The server refuses pages from this address"}
        </strong>
        {/* The age changes every second; a screen reader announces the headline only. */}
        <span aria-live="off">
          {[
            ...(refused === undefined ? [] : [`${refused}.`]),
            asOf === undefined
              ? "No data has arrived yet."
              : `The data below is from ${formatTime(asOf, undefined, now)}, ${formatAge(asOf, now)}.`,
            ...(connected ? ["Loading the missed events…"] : []),
          ].join(" ")}
        </span>
      </div>
      {!connected && (
        <button type="button" className="button" onClick={data.reconnect}>
          Reconnect now
        </button>
      )}
    </div>
  );
}

function headline({ connection: { cause, stopped, status } }: RealTimeData): string {
  if (stopped && cause?.code === CloseCode.connectionLimit) return "Too many open dashboards of this user: close one";
  if (stopped) return `Disconnected: ${cause?.reason ?? "the server closed the connection"}`;
  if (cause === undefined) return status === "connecting" ? "Connecting" : "Not connected";
  return "Connection lost";
}
