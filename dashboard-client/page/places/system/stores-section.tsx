import type { ReactNode } from "react";
import { formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { useNow } from "../../use-now.ts";
import { Fact } from "./fact.tsx";
import type { Stats } from "./stats.ts";

const OLD_BACKUP_MS = 7 * 86_400_000;
/** An archive that is further behind does not keep up. */
const MAX_BEHIND = 10_000;

/** Journal, archive, broker and backup. */
export function StoresSection({ stats }: { stats: Stats }): ReactNode {
  const { journal, archive, broker, outside_broker: outside, last_backup_at: backupAt } = stats.node;
  const now = useNow();
  const isOld = backupAt === undefined || now - Date.parse(backupAt) > OLD_BACKUP_MS;
  return (
    <section className="panel" aria-labelledby="system-stores">
      <h2 id="system-stores">{t("system.stores")}</h2>
      <dl className="system-facts">
        <Fact
          name={t("system.journal")}
          tone={journal.trouble !== undefined || journal.lost > 0 ? "bad" : "good"}
          note={journal.trouble ?? (journal.lost > 0 ? t("system.lost", { count: journal.lost }) : undefined)}
        >
          {t("system.position", { position: formatNumber(journal.head), epoch: journal.epoch })}
        </Fact>
        <Fact name={t("system.archive")} tone={archiveTone(archive)} note={archive.trouble}>
          {archiveText(archive)}
        </Fact>
        {broker !== undefined && (
          <Fact name={t("system.broker")}>
            {t("system.brokerClients", {
              clients: formatNumber(broker.clients),
              sessions: formatNumber(broker.sessions),
            })}
          </Fact>
        )}
        {outside !== undefined && (
          <Fact name={t("system.broker")} tone={outside.connected ? "good" : "bad"} note={outside.reason}>
            {t(outside.connected ? "system.brokerConnected" : "system.brokerAway", { broker: outside.broker })}
          </Fact>
        )}
        <Fact
          name={t("system.backup")}
          tone={isOld ? "warn" : "good"}
          note={isOld ? t("system.backupHint") : undefined}
        >
          {backupAt === undefined ? t("system.noBackup") : <When at={backupAt} form="age" />}
        </Fact>
      </dl>
    </section>
  );
}

type ArchiveStats = Stats["node"]["archive"];

function archiveTone({ state, trouble, behind = 0 }: ArchiveStats): "good" | "warn" | "bad" | undefined {
  if (state === "off") return undefined;
  if (trouble !== undefined) return "bad";
  return behind > MAX_BEHIND ? "warn" : "good";
}

function archiveText({ state, behind = 0 }: ArchiveStats): string {
  if (state === "off") return t("system.archiveOff");
  if (state !== "filling") return t("system.archiveElsewhere");
  return behind === 0 ? t("system.archiveCurrent") : t("system.archiveBehind", { count: behind });
}
