import { type ReactNode, Suspense, useState } from "react";
import { Icon, type IconName } from "../../components/icon.tsx";
import { later } from "../../later.tsx";
import { type TextKey, t } from "../../text/i18n.ts";
import { useDashboard } from "../../use-dashboard.ts";
import type { Arrangement } from "./arrange.ts";
import { FILTERS, type FleetFilter, type FleetQuery, type FleetSort, type FleetView, SORTS } from "./fleet-query.ts";
import { STATE_ICONS } from "./state-pill.tsx";

const GroupsDialog = later(() => import("./groups-dialog.tsx"));

interface ToolbarProps {
  query: FleetQuery;
  view: FleetView;
  arrangement: Arrangement;
  onChange: (change: Partial<FleetQuery>) => void;
}

const SORT_TEXTS: Readonly<Record<FleetSort, TextKey>> = {
  ...{ attention: "fleet.sortAttention", name: "fleet.sortName", battery: "fleet.sortBattery" },
  ...{ storage: "fleet.sortStorage", picture: "fleet.sortPicture" },
};

const FILTER_TEXTS: Readonly<Record<FleetFilter, TextKey>> = {
  ...{ attention: "fleet.attention", offline: "presence.offline", stale: "presence.stale", gap: "fleet.gap" },
  ...{ unknown: "presence.unknown", never_seen: "presence.never_seen", sleeping: "presence.sleeping" },
  online: "presence.online",
};

const isAdmin = ({ grants }: { grants: { admin: boolean } }): boolean => grants.admin;

/** Search, filters, order and view. All are in the address. */
export function FleetToolbar({ query, view, arrangement, onChange }: ToolbarProps): ReactNode {
  const { counts, groups, tags, total } = arrangement;
  const shown = FILTERS.filter((filter) => counts[filter] > 0 || query.state === filter);
  return (
    <search className="fleet-tools">
      <div className="fleet-fields">
        <input
          type="search"
          className="search-field fleet-search"
          value={query.q}
          placeholder={t("fleet.search")}
          aria-label={t("fleet.search")}
          onChange={(event) => onChange({ q: event.target.value })}
        />
        <div className="fleet-choices">
          <GroupChoice query={query} groups={groups} onChange={onChange} />
          {(tags.length > 0 || query.tag !== "") && (
            <Choice
              label={t("fleet.tag")}
              value={query.tag}
              options={[["", t("fleet.allTags")], ...withChosen(tags, query.tag).map((tag) => [tag, tag] as const)]}
              onChange={(tag) => onChange({ tag })}
            />
          )}
          <Choice
            label={t("fleet.sort")}
            value={query.sort}
            options={SORTS.map((sort) => [sort, t(SORT_TEXTS[sort])] as const)}
            onChange={(sort) => onChange({ sort: SORTS.find((one) => one === sort) ?? "attention" })}
          />
        </div>
        <fieldset className="fleet-views" aria-label={t("fleet.view")}>
          <ViewButton
            icon="grid"
            label={t("fleet.viewGrid")}
            isOn={view === "grid"}
            onClick={() => onChange({ view: "grid" })}
          />
          <ViewButton
            icon="list"
            label={t("fleet.viewList")}
            isOn={view === "list"}
            onClick={() => onChange({ view: "list" })}
          />
        </fieldset>
      </div>
      <fieldset className="fleet-filters" aria-label={t("fleet.filter")}>
        <FilterButton
          icon="camera"
          label={t("fleet.all")}
          count={total}
          isOn={query.state === undefined}
          onClick={() => onChange({ state: undefined })}
        />
        {shown.map((filter) => (
          <FilterButton
            key={filter}
            icon={filter === "attention" ? "alert" : STATE_ICONS[filter]}
            label={t(FILTER_TEXTS[filter])}
            count={counts[filter]}
            isOn={query.state === filter}
            onClick={() => onChange({ state: query.state === filter ? undefined : filter })}
          />
        ))}
      </fieldset>
    </search>
  );
}

/** The groups to filter by, and for admins the button to edit the groups. */
function GroupChoice({
  query,
  groups,
  onChange,
}: Pick<ToolbarProps, "query" | "onChange"> & Pick<Arrangement, "groups">) {
  const admin = useDashboard(isAdmin);
  const [editing, setEditing] = useState(false);
  const isUnknown = query.group !== "" && !groups.some(({ id }) => id === query.group);
  const known = isUnknown ? [...groups, { id: query.group, name: query.group }] : groups;
  return (
    <>
      {known.length > 0 && (
        <Choice
          label={t("fleet.group")}
          value={query.group}
          options={[["", t("fleet.allGroups")], ...known.map(({ id, name }) => [id, name] as const)]}
          onChange={(group) => onChange({ group })}
        />
      )}
      {admin && (
        <button type="button" className="button fleet-edit-groups" onClick={() => setEditing(true)}>
          {t("fleet.editGroups")}
        </button>
      )}
      {editing && (
        <Suspense>
          <GroupsDialog onClose={() => setEditing(false)} />
        </Suspense>
      )}
    </>
  );
}

interface ChoiceProps {
  label: string;
  value: string;
  options: readonly (readonly [value: string, text: string])[];
  onChange: (value: string) => void;
}

function Choice({ label, value, options, onChange }: ChoiceProps): ReactNode {
  return (
    <select
      className="fleet-choice"
      aria-label={label}
      title={label}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    >
      {options.map(([each, text]) => (
        <option key={each} value={each}>
          {text}
        </option>
      ))}
    </select>
  );
}

interface ButtonProps {
  icon: IconName;
  label: string;
  isOn: boolean;
  onClick: () => void;
}

function FilterButton({ icon, label, count, isOn, onClick }: ButtonProps & { count: number }): ReactNode {
  return (
    <button type="button" className="fleet-filter" aria-pressed={isOn} onClick={onClick}>
      <Icon name={icon} />
      <span>{label}</span>
      <span className="fleet-count">{count}</span>
    </button>
  );
}

function ViewButton({ icon, label, isOn, onClick }: ButtonProps): ReactNode {
  return (
    <button
      type="button"
      className="icon-button"
      aria-pressed={isOn}
      aria-label={label}
      title={label}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}

/** The address may name a tag that no camera has any more. */
function withChosen(tags: readonly string[], chosen: string): readonly string[] {
  return chosen === "" || tags.includes(chosen) ? tags : [...tags, chosen];
}
