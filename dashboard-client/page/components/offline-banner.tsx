import type { ReactNode } from "react";
import { CloseCode } from "../../../contract/codes.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatAge, formatTime } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { useRefusedOrigin } from "../use-refused-origin.ts";

export function OfflineBanner({ data, base }: { data: RealTimeData; base: string }): ReactNode {
  const now = useNow();
  const refused = useRefusedOrigin(base, data.connection);
  const { connection, live, loaded, asOf } = data;
  if (live || (connection.cause === undefined && !loaded)) return null;
  const connected = connection.status === "connected";
  const age =
    asOf === undefined
      ? "No data has arrived yet."
      : `The data below is from ${formatTime(asOf, undefined, now)}, ${formatAge(asOf, now)}.`;
  const words = [refused && `${refused}.`, age, connected && "Loading the missed events…"];
  return (
    <div className="banner" data-testid="offline-banner" role="alert">
      <div className="banner-words">
        <strong>{connected || !refused ? headline(data) : "The server refuses pages from this address"}</strong>
        {/* The age changes every second. A screen reader announces only the headline. */}
        <span aria-live="off">{words.filter(Boolean).join(" ")}</span>
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
  if (status === "connected") return "Connected again";
  if (stopped && cause?.code === CloseCode.connectionLimit) return "Too many open dashboards of this user: close one";
  if (stopped) return `Disconnected: ${cause?.reason ?? "the server closed the connection"}`;
  if (cause === undefined) return status === "connecting" ? "Connecting" : "Not connected";
  return "Connection lost";
}
