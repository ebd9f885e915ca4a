import type { ReactNode } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { countOffline, countOnline } from "../camera-order.ts";
import { Icon } from "../components/icon.tsx";
import { type FleetCounts, useFleetCounts } from "../fleet.ts";
import { useServices } from "../services.tsx";
import { t } from "../text/i18n.ts";
import { useDashboard } from "../use-dashboard.ts";
import { ConnectionPill } from "./connection-pill.tsx";
import { useWindowTitle } from "./page-title.ts";

interface PageHeaderProps {
  /** The connection state is not shown while the user must sign in. */
  mustSignIn: boolean;
  onSignOut: (() => void) | undefined;
  onPreferences: () => void;
  onAccount: () => void;
}

export function PageHeader({ mustSignIn, onSignOut, onPreferences, onAccount }: PageHeaderProps): ReactNode {
  const { access } = useServices();
  return (
    <header className="page-header">
      <p className="brand" translate="no">
        <svg className="brand-mark" viewBox="0 0 32 32" aria-hidden="true">
          <circle cx="22" cy="10" r="4.5" className="brand-sun" />
          <path d="M2 26 11.5 11l5.6 8.4 2.9-4L30 26z" className="brand-peak" />
        </svg>
        <span>Skylapse</span>
      </p>
      <Summary />
      {!mustSignIn && <ConnectionPill />}
      <button
        type="button"
        className="icon-button"
        aria-label={t("shell.preferences")}
        title={t("shell.preferences")}
        data-testid="preferences"
        onClick={onPreferences}
      >
        <Icon name="sliders" />
      </button>
      {onSignOut !== undefined && (
        <button
          type="button"
          className="icon-button header-user"
          aria-label={t("shell.account", { user: access.userId ?? "" })}
          title={t("shell.account", { user: access.userId ?? "" })}
          data-testid="account"
          onClick={onAccount}
        >
          <Icon name="person" />
          <span translate="no">{access.userId}</span>
        </button>
      )}
      {onSignOut !== undefined && (
        <button
          type="button"
          className="text-button"
          title={t("shell.signedInAs", { user: access.userId ?? "" })}
          onClick={onSignOut}
        >
          {t("shell.signOut")}
        </button>
      )}
    </header>
  );
}

const summaryPart = (data: RealTimeData) => ({
  offline: countOffline(data),
  online: countOnline(data),
  size: data.cameras.size,
  leftOut: data.leftOut,
  live: data.live,
  loaded: data.loaded,
});
type SummaryPart = ReturnType<typeof summaryPart>;

function Summary(): ReactNode {
  const part = useDashboard(summaryPart);
  const counts = useFleetCounts(part);
  const offline = part.live ? (counts?.offline ?? part.offline) : 0;
  useWindowTitle(offline);
  return (
    <p className="page-summary">
      <span>{summary(part, counts)}</span>
      {offline > 0 && (
        <strong className="page-offline" data-testid="offline-count">
          {t("shell.offline", { count: offline })}
        </strong>
      )}
    </p>
  );
}

function summary({ size, live, loaded, online: own }: SummaryPart, counts: FleetCounts | undefined): string {
  const total = counts?.total ?? size;
  if (!loaded || total === 0) return "";
  const words = [t("shell.cameras", { count: total })];
  const online = counts?.online ?? own;
  if (live)
    words.push(
      online < total ? t("shell.online", { count: online }) : t(total === 1 ? "shell.oneOnline" : "shell.allOnline"),
    );
  if (live && size < total) words.push(t("shell.showing", { count: size }));
  return words.join(", ");
}
