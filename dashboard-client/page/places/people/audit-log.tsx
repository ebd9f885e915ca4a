import { useInfiniteQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { useSearchParams } from "wouter";
import { checked, list, object, optional, text } from "../../../../contract/guards.ts";
import { pathWith } from "../../api/history.ts";
import { useServices } from "../../services.tsx";
import { personName } from "../../text/alert-text.ts";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { When } from "../../ui/when.tsx";
import type { AuditLine } from "./people-api.ts";

interface AuditPage {
  lines: AuditLine[];
  next?: string | undefined;
  silent_nodes?: string[] | undefined;
}

const MAX_LINES = 1_000;
const isPage = object<AuditPage>({
  lines: list(
    object<AuditLine>({
      ...{ id: text(), time: text(), action: text(), who: text(), address: optional(text()) },
      ...{ target: text(), outcome: text() },
    }),
    MAX_LINES,
  ),
  next: optional(text()),
  silent_nodes: optional(list(text(), MAX_LINES)),
});

function useAudit(path: string) {
  const { api } = useServices();
  return useInfiniteQuery({
    queryKey: ["audit", path],
    queryFn: async ({ pageParam, signal }) => checked(isPage, await api.request(pageParam, { signal })),
    initialPageParam: path,
    getNextPageParam: (last: AuditPage) => last.next,
    // No event tells of new lines.
    staleTime: 0,
  });
}

/** The outcomes of refusals. Other outcomes are `done`, or what was given, such as `role admin`. */
const REFUSALS =
  /unauthorized|denied|refused|reused|too_many|limit|bad_request|not_found|offline|unavailable|^with |^as /;

const LOGS = ["access", "traffic"] as const;

/** The newest lines of the audit log: who did what, and what was refused. */
export function AuditLog(): ReactNode {
  const [search, setSearch] = useSearchParams();
  const log = LOGS.find((name) => name === search.get("log")) ?? "access";
  const { data, error, isFetching, hasNextPage, fetchNextPage, refetch } = useAudit(pathWith("audit", { log }));
  const pages = data?.pages ?? [];
  const silent = pages[0]?.silent_nodes?.length ?? 0;
  return (
    <section className="panel" aria-label={t("people.tab.audit")}>
      <div className="panel-head">
        <h2>{t("people.tab.audit")}</h2>
        <div className="records-filters">
          <Choice
            label={t("people.auditLog")}
            value={log}
            options={LOGS.map((name) => [name, t(`people.log.${name}`)] as const)}
            onChange={(name) => setSearch(name === "access" ? {} : { log: name }, { replace: true })}
          />
        </div>
      </div>
      <p className="field-note">{t("people.auditHint")}</p>
      <div className="records-bar">
        <button type="button" className="button" disabled={isFetching} onClick={() => void refetch()}>
          {t("people.refresh")}
        </button>
      </div>
      {silent > 0 && <p className="form-problem">{t("people.silentNodes", { count: silent })}</p>}
      {error !== null && (
        <p className="form-problem" role="alert">
          {t("common.loadingFailed", { reason: error.message })}
        </p>
      )}
      {data === undefined && error === null && <p className="history-note">{t("common.loading")}</p>}
      {data !== undefined && pages[0]?.lines.length === 0 && <p className="history-note">{t("people.noLines")}</p>}
      <ul className="records">
        {pages
          .flatMap(({ lines }) => lines)
          .map((line) => (
            <Line key={line.id} line={line} />
          ))}
      </ul>
      {hasNextPage && (
        <button type="button" className="button" disabled={isFetching} onClick={() => void fetchNextPage()}>
          {t("common.more")}
        </button>
      )}
    </section>
  );
}

/** Actions and targets are names of the log, as in its file, and are not translated. */
function Line({ line: { time, action, who, address, target, outcome } }: { line: AuditLine }): ReactNode {
  return (
    <li className="people-line" data-testid="audit-line" data-tone={REFUSALS.test(outcome) ? "bad" : "quiet"}>
      <span className="people-line-time">
        <When at={time} />
      </span>
      <span className="people-line-who" translate="no">
        {personName(who)}
      </span>
      <span className="people-line-action" translate="no">
        {action}
      </span>
      <span className="people-line-outcome" translate="no">
        {outcome}
      </span>
      <span className="people-line-target" translate="no">
        {[target, address].filter(Boolean).join(" · ")}
      </span>
    </li>
  );
}
