import { type ReactNode, useState } from "react";
import { useServices } from "../../services.tsx";
import { formatBytes, formatDuration, formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { ConfirmDialog } from "../../ui/form-dialog.tsx";
import { Fact } from "./fact.tsx";
import type { Readiness, Stats } from "./stats.ts";
import { useRefresh } from "./use-system.ts";

interface HealthSectionProps {
  stats: Stats | undefined;
  readiness: Readiness | undefined;
  admin: boolean;
}

/** Whether the server works, its version and its clock. */
export function HealthSection({ stats, readiness, admin }: HealthSectionProps): ReactNode {
  const ready = readiness?.status === "ready";
  const problems = [...(readiness?.notices ?? []), ...(readiness?.differences ?? [])];
  return (
    <section className="panel" aria-labelledby="system-health">
      <h2 id="system-health">{t("system.health")}</h2>
      <dl className="system-facts">
        <Fact
          name={t("system.state")}
          note={readiness?.reason}
          tone={readiness === undefined ? undefined : ready ? "good" : "bad"}
        >
          <span className="dot" aria-hidden="true" />
          <span data-testid="system-state">
            {readiness === undefined ? t("common.unknown") : t(ready ? "system.ready" : "system.notReady")}
          </span>
        </Fact>
        {stats !== undefined && (
          <>
            <Fact name={t("system.version")}>{stats.version}</Fact>
            <Fact name={t("system.uptime")}>{formatDuration(stats.node.uptime_seconds * 1000)}</Fact>
            <Fact name={t("system.memory")}>{formatBytes(stats.node.memory_bytes)}</Fact>
          </>
        )}
        <Clock readiness={readiness} admin={admin} />
      </dl>
      {problems.length > 0 && (
        <ul className="system-notices">
          {problems.map((problem) => (
            // The server writes its notices in English.
            <li key={problem} lang="en">
              {problem}
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Clock({ readiness, admin }: Pick<HealthSectionProps, "readiness" | "admin">): ReactNode {
  const { api } = useServices();
  const refresh = useRefresh();
  const [asks, setAsks] = useState<"passed" | "corrected">();
  if (readiness === undefined) return null;
  const jump = readiness.clock;
  if (jump === undefined)
    return (
      <Fact name={t("system.clock")} tone="good">
        {t("system.clockRight")}
      </Fact>
    );
  const accept = async (): Promise<void> => {
    await api.request("clock/accept", { method: "POST", body: { time_passed: asks === "passed" } });
    refresh("readyz", "stats");
  };
  return (
    <Fact name={t("system.clock")} tone="bad" note={admin ? t("system.clockChoose") : t("system.clockNeedsAdmin")}>
      <span>{t("system.clockJump", { seconds: formatNumber(jump.ahead_seconds) })}</span>
      <span className="system-actions">
        <button type="button" className="button" disabled={!admin} onClick={() => setAsks("passed")}>
          {t("system.clockPassed")}
        </button>
        <button type="button" className="button" disabled={!admin} onClick={() => setAsks("corrected")}>
          {t("system.clockCorrected")}
        </button>
      </span>
      {asks !== undefined && (
        <ConfirmDialog
          title={t(asks === "passed" ? "system.clockPassed" : "system.clockCorrected")}
          description={t(asks === "passed" ? "system.clockPassedWill" : "system.clockCorrectedWill")}
          action={t("system.clockAccept")}
          onConfirm={accept}
          onClose={() => setAsks(undefined)}
        />
      )}
    </Fact>
  );
}
