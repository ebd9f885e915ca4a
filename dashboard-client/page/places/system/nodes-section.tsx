import type { ReactNode } from "react";
import { formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import type { Stats } from "./stats.ts";
import { Table } from "./table.tsx";

/** The nodes of the deployment. */
export function NodesSection({ stats }: { stats: Stats }): ReactNode {
  const { nodes = [], trouble } = stats.cluster;
  return (
    <section className="panel" aria-labelledby="system-nodes">
      <h2 id="system-nodes">{t("system.nodes")}</h2>
      {trouble !== undefined && <p className="form-problem">{trouble}</p>}
      <Table
        label={t("system.nodes")}
        heads={[t("system.node"), t("system.started"), t("system.lastSeen"), t("system.connections")]}
        rows={nodes.map((node) => ({
          key: node.id,
          cells: [
            <NodeName key="node" name={node.name || node.id} isThis={node.id === stats.node.id} />,
            <When key="started" at={node.started_at} form="age" />,
            <When key="seen" at={node.last_seen_at} form="age" />,
            formatNumber(node.connections),
          ],
        }))}
      />
    </section>
  );
}

function NodeName({ name, isThis }: { name: string; isThis: boolean }): ReactNode {
  return (
    <span className="system-node">
      <span translate="no">{name}</span>
      {isThis && <span className="field-note">{t("system.thisNode")}</span>}
    </span>
  );
}
