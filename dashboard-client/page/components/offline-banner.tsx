import type { ReactNode } from "react";
import { CloseCode } from "../../../contract/codes.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatAge, formatTime } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { useRefusedOrigin } from "../use-refused-origin.ts";

/** Says that what is shown is not of now, and of when it is. Nothing while everything is live, or loads for the first time. */
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
          {connected ? "Connected again" : refused === undefined ? headline(data) : "The server refuses this address"}
        </strong>
        {/* Ages tick; a screen reader is told of the headline alone. */}
        <span aria-live="off">
          {[
            ...(refused === undefined ? [] : [`${refused}.`]),
            asOf === undefined
              ? "Nothing is known yet."
              : `Everything below is as of ${formatTime(asOf, undefined, now)}, ${formatAge(asOf, now)}.`,
            ...(connected ? ["Catching up on what was missed…"] : []),
          ].join(" ")}
        </span>
      </div>
      {!connected && (
        <button type="button" className="button" onClick={data.reconnect}>
          Try now
        </button>
      )}
    </div>
  );
}

function headline({ connection: { cause, stopped, status } }: RealTimeData): string {
  if (stopped && cause?.code === CloseCode.connectionLimit) return "Too many open dashboards: close one";
  if (stopped) return `Disconnected: ${cause?.reason ?? "the server said goodbye"}`;
  if (cause === undefined) return status === "connecting" ? "Connecting" : "Not connected";
  return "Connection lost";
}
