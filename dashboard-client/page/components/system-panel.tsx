import type { ReactNode } from "react";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { formatBytes, formatDuration } from "../text/format.ts";
import { useNow } from "../use-now.ts";
import { Sparkline } from "./sparkline.tsx";

export function SystemPanel({ data }: { data: RealTimeData }): ReactNode {
  const now = useNow();
  const { status, resources } = data.system;
  if (status === undefined && resources === undefined) return null;
  const uptimeMs = status === undefined ? undefined : now - Date.parse(status.value.started_at);
  return (
    <section className="panel" aria-labelledby="system-title">
      <div className="panel-head">
        <h2 id="system-title">Backend</h2>
        {status !== undefined && (
          <span className="panel-note">
            {[
              ...(status.value.status === "ok" ? [] : ["degraded"]),
              status.value.version,
              ...(data.live && uptimeMs !== undefined ? [`up ${formatDuration(uptimeMs)}`] : []),
            ].join(" · ")}
          </span>
        )}
      </div>
      {status?.value.reason !== undefined && <p className="system-reason">{status.value.reason}</p>}
      {resources !== undefined && (
        <div className="meters">
          <Meter label="CPU" value={`${Math.round(resources.value.cpu_percent)} %`}>
            <Sparkline values={data.metrics.map(({ cpu_percent }) => cpu_percent)} max={100} />
          </Meter>
          <Meter label="Memory" value={formatBytes(resources.value.memory_bytes)}>
            <Sparkline values={data.metrics.map(({ memory_bytes }) => memory_bytes)} />
          </Meter>
        </div>
      )}
    </section>
  );
}

function Meter({ label, value, children }: { label: string; value: string; children: ReactNode }): ReactNode {
  return (
    <div className="meter">
      <p>
        <span>{label}</span>
        <b>{value}</b>
      </p>
      {children}
    </div>
  );
}
