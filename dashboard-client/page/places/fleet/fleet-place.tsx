import { type ReactNode, useCallback, useMemo, useSyncExternalStore } from "react";
import { Link, useSearch } from "wouter";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { navigate } from "../../hash-location.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { formatNumber } from "../../text/format.ts";
import { t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";
import type { Arrangement } from "./arrange.ts";
import { FleetList } from "./fleet-list.tsx";
import { addressOf, type FleetQuery, isFiltered, readQuery } from "./fleet-query.ts";
import { FleetToolbar } from "./fleet-toolbar.tsx";
import { useArrangement } from "./use-arrangement.ts";

const NO_FILTERS = { q: "", state: undefined, group: "", tag: "" };
/** In a narrow window, more cameras than this begin as a list: their cards would be 300 pixels high, one below the other. */
const MAX_NARROW_CARDS = 4;
const narrow = matchMedia("(max-width: 700px)");

const isLoaded = ({ loaded }: RealTimeData): boolean => loaded;
const isAdmin = ({ grants }: RealTimeData): boolean => grants.admin;

export function FleetPlace(): ReactNode {
  const search = useSearch();
  const query = useMemo(() => readQuery(search), [search]);
  const arrangement = useArrangement(query);
  const loaded = useDashboard(isLoaded);
  const isNarrow = useSyncExternalStore(onNarrow, () => narrow.matches);
  usePlaceTitle("");
  const change = useCallback(
    (changes: Partial<FleetQuery>) => navigate(addressOf({ ...query, ...changes }), { replace: true }),
    [query],
  );
  if (arrangement.total === 0) return <div className="place fleet">{loaded ? <NoCameras /> : <LoadingCameras />}</div>;
  const view = query.view ?? (isNarrow && arrangement.total > MAX_NARROW_CARDS ? "list" : "grid");
  return (
    <div className="place fleet">
      <h1 className="visually-hidden">{t("fleet.title")}</h1>
      <FleetToolbar query={query} view={view} arrangement={arrangement} onChange={change} />
      {/* A screen reader says how many cameras a filter has found. */}
      <p className="fleet-found" role="status">
        {isFiltered(query) && found(arrangement)}
      </p>
      {arrangement.ids.length === 0 ? (
        <div className="fleet-nothing">
          <p>{t("fleet.nothingFound")}</p>
          <button type="button" className="button" onClick={() => change(NO_FILTERS)}>
            {t("fleet.showAll")}
          </button>
        </div>
      ) : (
        <FleetList key={view} ids={arrangement.ids} view={view} />
      )}
    </div>
  );
}

function onNarrow(listener: () => void): () => void {
  narrow.addEventListener("change", listener);
  return () => narrow.removeEventListener("change", listener);
}

function found({ ids, total }: Arrangement): string {
  return t("fleet.found", { shown: formatNumber(ids.length), count: total });
}

function LoadingCameras(): ReactNode {
  return (
    <section aria-label={t("fleet.title")} aria-busy="true">
      <div className="fleet-loading picture skeleton" />
    </section>
  );
}

function NoCameras(): ReactNode {
  const mayAdd = useDashboard(isAdmin);
  return (
    <section className="cameras" aria-label={t("fleet.title")}>
      <div className="empty">
        <svg viewBox="0 0 120 60" className="empty-scene" aria-hidden="true">
          <circle cx="84" cy="18" r="8" />
          <path d="M6 54 40 16l20 26 10-12 44 24z" />
        </svg>
        <h1>{t("fleet.none")}</h1>
        <p>{t("fleet.noneHint")}</p>
        {mayAdd && (
          <Link href="/first-run" className="button primary">
            {t("fleet.addFirst")}
          </Link>
        )}
      </div>
    </section>
  );
}
