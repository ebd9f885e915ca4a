import type { ReactNode } from "react";
import { CloseCode } from "../../../contract/codes.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { useServices } from "../services.tsx";
import { formatAge, formatTime } from "../text/format.ts";
import { t } from "../text/i18n.ts";
import { useDashboard } from "../use-dashboard.ts";
import { useNow } from "../use-now.ts";
import { useRefusedOrigin } from "../use-refused-origin.ts";

const bannerPart = ({ connection, live, loaded, asOf }: RealTimeData) => ({
  status: connection.status,
  cause: connection.cause,
  stopped: connection.stopped,
  // While the data is live, `asOf` changes with each event.
  asOf: live ? undefined : asOf,
  live,
  loaded,
});
type BannerPart = ReturnType<typeof bannerPart>;

export function OfflineBanner(): ReactNode {
  const now = useNow();
  const { base, client } = useServices();
  const part = useDashboard(bannerPart);
  const { status, cause, live, loaded, asOf } = part;
  const refused = useRefusedOrigin(base, part);
  if (live || (cause === undefined && !loaded)) return null;
  const connected = status === "connected";
  const age =
    asOf === undefined
      ? t("banner.noData")
      : t("banner.dataFrom", { time: formatTime(asOf, undefined, now), age: formatAge(asOf, now) });
  const words = [refused && `${refused}.`, age, connected && t("banner.loadingMissed")];
  return (
    <div className="banner" data-testid="offline-banner" role="alert">
      <div className="banner-words">
        <strong>{connected || !refused ? headline(part) : t("banner.refusedOrigin")}</strong>
        {/* The age changes every second. A screen reader announces only the headline. */}
        <span aria-live="off">{words.filter(Boolean).join(" ")}</span>
      </div>
      {!connected && (
        <button type="button" className="button" onClick={() => client.connect()}>
          {t("banner.reconnect")}
        </button>
      )}
    </div>
  );
}

function headline({ cause, stopped, status }: BannerPart): string {
  if (status === "connected") return t("banner.connectedAgain");
  if (stopped && cause?.code === CloseCode.connectionLimit) return t("banner.tooMany");
  if (stopped) return t("banner.disconnected", { reason: cause?.reason ?? t("banner.serverClosed") });
  if (cause === undefined) return t(status === "connecting" ? "banner.connecting" : "banner.notConnected");
  return t("banner.connectionLost");
}
