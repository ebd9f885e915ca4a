import { useInfiniteQuery } from "@tanstack/react-query";
import { type ReactNode, useMemo } from "react";
import { useServices } from "../../../services.tsx";
import { t } from "../../../text/i18n.ts";
import { When } from "../../../ui/when.tsx";
import { personOf } from "../use-camera-control.ts";
import { commandName, statusText } from "./command-text.ts";
import { type PastCommand, pastCommands, readPage } from "./history.ts";

/** Events of a page. A command has about three: its issue, and two replies. */
const PAGE_EVENTS = 60;

/** @param camera the id of the camera */
export function historyKey(camera: string): readonly string[] {
  return ["commands", camera];
}

/** All commands for a camera, with their senders and outcomes. */
export function CommandHistory({ camera, zone }: { camera: string; zone: string | undefined }): ReactNode {
  const { api } = useServices();
  const history = useInfiniteQuery({
    queryKey: historyKey(camera),
    queryFn: async ({ pageParam, signal }) => readPage(await api.request(pageParam, { signal })),
    initialPageParam: `commands?camera=${encodeURIComponent(camera)}&limit=${PAGE_EVENTS}`,
    getNextPageParam: ({ next }) => next,
    staleTime: 0,
  });
  const commands = useMemo(
    () => pastCommands(history.data?.pages.flatMap(({ events }) => events) ?? []),
    [history.data],
  );
  return (
    <section className="panel command-history" aria-label={t("manage.history")}>
      <header className="forecast-head">
        <h2>{t("manage.history")}</h2>
        <button type="button" className="button" disabled={history.isFetching} onClick={() => void history.refetch()}>
          {t("manage.refresh")}
        </button>
      </header>
      {history.isError && (
        <p className="form-problem" role="alert">
          {t("common.loadingFailed", { reason: history.error.message })}
        </p>
      )}
      {history.isSuccess && commands.length === 0 && <p className="soft">{t("manage.noHistory")}</p>}
      <ol className="command-rows">
        {commands.map((command) => (
          <Row key={command.id} command={command} zone={zone} />
        ))}
      </ol>
      {history.hasNextPage && (
        <button
          type="button"
          className="button"
          disabled={history.isFetching}
          onClick={() => void history.fetchNextPage()}
        >
          {t("common.more")}
        </button>
      )}
    </section>
  );
}

function Row({ command, zone }: { command: PastCommand; zone: string | undefined }): ReactNode {
  const { id, name, by, at, status, error, code } = command;
  const outcome =
    status === undefined ? { text: t("manage.noStatus"), tone: "quiet" } : statusText(status, error, code);
  return (
    <li className="command-row" data-tone={outcome.tone} data-testid="past-command" title={id}>
      <span className="command-name">{commandName(name)}</span>
      <span className="command-outcome">
        <span className="dot" aria-hidden="true" />
        <span>{outcome.text}</span>
      </span>
      <span className="soft">{by === undefined ? t("manage.byUnknown") : t("manage.by", { by: personOf(by) })}</span>
      <When at={at} cameraZone={zone} />
    </li>
  );
}
