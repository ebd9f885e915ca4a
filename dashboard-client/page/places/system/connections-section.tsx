import { type ReactNode, useState } from "react";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { ConfirmDialog } from "../../ui/form-dialog.tsx";
import { When } from "../../ui/when.tsx";
import type { Connection, Stats } from "./stats.ts";
import { Table } from "./table.tsx";
import { useConnections, useRefresh } from "./use-system.ts";

/** More rows make the page slow. The search of the browser still finds the first ones. */
const MAX_SHOWN = 200;

/** The open dashboards, which an admin can close. */
export function ConnectionsSection({ stats, admin }: { stats: Stats; admin: boolean }): ReactNode {
  const { api } = useServices();
  const refresh = useRefresh();
  const all = useConnections(admin);
  const [closing, setClosing] = useState<Connection>();
  const connections = all.data?.connections ?? stats.connection_details;
  const sorted = connections.toSorted((one, other) => other.connected_at.localeCompare(one.connected_at));
  const left = connections.length - MAX_SHOWN + (all.data?.not_listed ?? 0);
  const close = async ({ connection_id: id }: Connection): Promise<void> => {
    await api.request(`connections/${encodeURIComponent(id)}`, { method: "DELETE" });
    refresh("connections", "stats");
  };
  return (
    <section className="panel" aria-labelledby="system-connections">
      <h2 id="system-connections">{t("system.connectionsTitle", { count: connections.length })}</h2>
      {!admin && <p className="field-note">{t("system.connectionsNeedAdmin")}</p>}
      {all.data?.silent_nodes !== undefined && (
        <p className="form-problem">{t("system.silentNodes", { nodes: all.data.silent_nodes.join(", ") })}</p>
      )}
      <Table
        label={t("system.connections")}
        heads={[t("system.user"), t("system.address"), t("system.since"), t("system.node"), t("system.action")]}
        rows={sorted.slice(0, MAX_SHOWN).map((connection) => ({
          key: connection.connection_id,
          cells: [
            <span key="user" translate="no">
              {connection.user_id}
            </span>,
            <span key="address" translate="no">
              {connection.ip_address}
            </span>,
            <When key="since" at={connection.connected_at} form="age" />,
            <span key="node" translate="no">
              {connection.node ?? stats.node.id}
            </span>,
            <button
              key="close"
              type="button"
              className="button"
              disabled={!admin}
              title={admin ? undefined : t("system.connectionsNeedAdmin")}
              aria-label={t("system.closeOf", { user: connection.user_id, address: connection.ip_address })}
              onClick={() => setClosing(connection)}
            >
              {t("common.close")}
            </button>,
          ],
        }))}
      />
      {left > 0 && <p className="field-note">{t("system.notListed", { count: left })}</p>}
      {closing !== undefined && (
        <ConfirmDialog
          title={t("system.closeTitle", { user: closing.user_id })}
          description={t("system.closeWill")}
          action={t("system.closeAction")}
          onConfirm={() => close(closing)}
          onClose={() => setClosing(undefined)}
        />
      )}
    </section>
  );
}
