import type { ReactNode } from "react";
import { Sparkline } from "../../components/sparkline.tsx";
import { formatLatency, formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { Fact } from "./fact.tsx";
import type { Stats } from "./stats.ts";
import { useRates } from "./use-rates.ts";

/** A delay of the event loop above this is noticed by people. */
const SLOW_LOOP_MS = 200;

/** Events in a second, and how long they take. */
export function ThroughputSection({ stats }: { stats: Stats }): ReactNode {
  const { received, delivered } = useRates(stats);
  const { latency_ms: latency = {}, event_loop_delay_ms: delay, sockets, ingest } = stats.node;
  return (
    <section className="panel" aria-labelledby="system-throughput">
      <h2 id="system-throughput">{t("system.throughput")}</h2>
      <dl className="system-facts">
        <Rate name={t("system.received")} values={received} />
        <Rate name={t("system.delivered")} values={delivered} />
        <Latency name={t("system.cameraToServer")} of={latency.camera_to_server} />
        <Latency name={t("system.append")} of={latency.append} />
        <Latency name={t("system.journalToSocket")} of={latency.journal_to_socket} />
        <Fact
          name={t("system.loop")}
          tone={delay.p99 > SLOW_LOOP_MS ? "warn" : undefined}
          note={t("system.p99", { value: formatLatency(delay.p99) })}
        >
          {formatLatency(delay.p50)}
        </Fact>
        <Fact name={t("system.lagging")} tone={sockets.lagging > 0 ? "warn" : undefined}>
          {formatNumber(sockets.lagging)}
        </Fact>
        <Fact name={t("system.refused")}>{formatNumber(ingest.refused)}</Fact>
      </dl>
    </section>
  );
}

function Rate({ name, values }: { name: string; values: readonly number[] }): ReactNode {
  const newest = values.at(-1);
  return (
    <Fact name={name}>
      <span>
        {newest === undefined ? "…" : t("system.perSecond", { value: formatNumber(newest, newest < 10 ? 1 : 0) })}
      </span>
      <Sparkline values={values} />
    </Fact>
  );
}

function Latency({ name, of }: { name: string; of: { p50: number; p99: number } | undefined }): ReactNode {
  return (
    <Fact name={name} note={of === undefined ? undefined : t("system.p99", { value: formatLatency(of.p99) })}>
      {of === undefined ? t("system.noEvents") : formatLatency(of.p50)}
    </Fact>
  );
}
