import type { ReactNode } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatLatency } from "../text/format.ts";
import { t } from "../text/i18n.ts";
import { useDashboard } from "../use-dashboard.ts";
import { useNow } from "../use-now.ts";

const BARS = { excellent: 4, good: 3, fair: 2, poor: 1, unknown: 0 };

const pillPart = ({ connection, live, loaded }: RealTimeData) => ({
  ...connection,
  // Without a cause and without events, each measured latency would be a new object.
  latencyMs: connection.latencyMs === undefined ? undefined : Math.round(connection.latencyMs),
  live,
  loaded,
});
type PillPart = ReturnType<typeof pillPart>;

export function ConnectionPill(): ReactNode {
  const now = useNow();
  const part = useDashboard(pillPart);
  const { status, quality, latencyMs, live } = part;
  const level = quality === "unknown" ? t("common.unknown") : t(`shell.${quality}`);
  const title = status === "connected" ? t("shell.quality", { quality: level }) : part.cause?.reason;
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
      <span>{words(part, now)}</span>
      {status === "connected" && latencyMs !== undefined && (
        <>
          <span className="connection-latency">{formatLatency(latencyMs)}</span>
          <span className="bars" data-bars={BARS[quality]} role="img" aria-label={title}>
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

function words({ status, retryAt, cause, live, loaded }: PillPart, now: number): string {
  switch (status) {
    case "connected":
      return t(live ? "shell.live" : loaded ? "shell.catchingUp" : "common.loading");
    case "connecting": {
      if (retryAt === undefined) return t(cause === undefined ? "shell.connecting" : "shell.reconnecting");
      const seconds = Math.ceil((retryAt - now) / 1000);
      return seconds > 0 ? t("shell.reconnectingIn", { seconds }) : t("shell.reconnecting");
    }
    case "disconnected":
      return t("shell.disconnected");
  }
}
