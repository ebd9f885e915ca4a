import type { ReactNode } from "react";
import { SYSTEM } from "../../../../contract/channels.ts";
import type { ChannelGrants } from "../../../../contract/permissions.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { ProxyProblems } from "../first-run/proxy-problems.tsx";
import { ConnectionsSection } from "./connections-section.tsx";
import { HealthSection } from "./health-section.tsx";
import { NodesSection } from "./nodes-section.tsx";
import { StoresSection } from "./stores-section.tsx";
import { ThroughputSection } from "./throughput-section.tsx";
import { useReadiness, useStats } from "./use-system.ts";

const rights = ({ grants }: { grants: ChannelGrants }) => ({
  admin: grants.admin,
  reads: grants.canReadChannel(SYSTEM),
});

/** The state of the server and its nodes. */
export default function SystemPlace(): ReactNode {
  usePlaceTitle(t("place.system"));
  const { admin, reads } = useDashboard(rights);
  const stats = useStats(reads);
  const readiness = useReadiness();
  return (
    <div className="place system">
      <h1>{t("place.system")}</h1>
      <ProxyProblems />
      <HealthSection stats={stats.data} readiness={readiness.data} admin={admin} />
      {!reads && <p className="empty">{t("system.needsPermission")}</p>}
      {stats.error !== null && stats.data === undefined && (
        <p className="form-problem" role="alert">
          {t("common.loadingFailed", { reason: stats.error.message })}
        </p>
      )}
      {stats.data !== undefined && (
        <>
          <ThroughputSection stats={stats.data} />
          <StoresSection stats={stats.data} />
          <NodesSection stats={stats.data} />
          <ConnectionsSection stats={stats.data} admin={admin} />
        </>
      )}
    </div>
  );
}
