import { type ReactNode, useState } from "react";
import { useSearchParams } from "wouter";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { pathWith } from "../../api/history.ts";
import { HistoryList } from "../../components/history-list.tsx";
import { EVENT_NAMES } from "../../text/event-text.ts";
import { t, textOf } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { TextField } from "../../ui/text-field.tsx";
import { useCameraNames } from "../../use-cameras.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { ExportButtons } from "./export-buttons.tsx";

const FILTERS = ["camera", "kind", "event", "text", "from", "to"] as const;
type Filter = (typeof FILTERS)[number];
const KINDS = ["event", "state", "presence", "alert", "job", "preview", "broadcast", "system"] as const;
/** Kinds that no channel carries: only admins read them. */
const ADMIN_KINDS = ["command", "link", "other"] as const;

const isAdmin = ({ grants }: RealTimeData): boolean => grants.admin;

/** A search of the archive. The filters are in the address, so that a search can be sent to somebody. */
export function EventSearch(): ReactNode {
  const [search, setSearch] = useSearchParams();
  const admin = useDashboard(isAdmin);
  const names = useCameraNames();
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, search.get(name) ?? ""])) as Record<Filter, string>;
  const change = (name: Filter, value: string): void =>
    setSearch(
      (before) => {
        if (value === "") before.delete(name);
        else before.set(name, value);
        return before;
      },
      { replace: true },
    );
  const kinds = admin ? [...KINDS, ...ADMIN_KINDS] : KINDS;
  const cameras = Object.entries(names).sort(([, one], [, other]) => one.localeCompare(other));
  const isKnown = chosen.camera === "" || chosen.camera in names;
  const filtered = FILTERS.some((name) => chosen[name] !== "");
  return (
    <section className="panel" aria-label={t("events.search")}>
      <div className="records-filters">
        <Choice
          label={t("events.camera")}
          value={chosen.camera}
          options={[
            ["", t("events.allCameras")],
            ...(isKnown ? [] : [[chosen.camera, chosen.camera] as const]),
            ...cameras,
          ]}
          onChange={(value) => change("camera", value)}
        />
        <Choice
          label={t("events.kind")}
          value={chosen.kind}
          options={[["", t("events.allKinds")], ...kinds.map((kind) => [kind, t(`events.kinds.${kind}`)] as const)]}
          onChange={(value) => change("kind", value)}
        />
        <Choice
          label={t("events.name")}
          value={chosen.event}
          options={[["", t("events.allNames")], ...namesOf(chosen.event)]}
          onChange={(value) => change("event", value)}
        />
        <WordsField value={chosen.text} onChange={(value) => change("text", value)} />
        <TimeField label={t("events.from")} value={chosen.from} onChange={(value) => change("from", value)} />
        <TimeField label={t("events.to")} value={chosen.to} onChange={(value) => change("to", value)} />
      </div>
      <div className="records-bar">
        <button type="button" className="button" disabled={!filtered} onClick={() => setSearch({}, { replace: true })}>
          {t("events.clear")}
        </button>
        <ExportButtons filters={chosen} />
      </div>
      <HistoryList path={pathWith("events", { ...chosen, limit: "100" })} none={t("events.nothingFound")} />
    </section>
  );
}

/** The names of events with their texts. An event may have a name that the page does not know. */
function namesOf(chosen: string): (readonly [string, string])[] {
  const known = EVENT_NAMES.map((name) => [name, textOf("event", name) ?? name] as const);
  const others = chosen === "" || known.some(([name]) => name === chosen) ? [] : [[chosen, chosen] as const];
  return [...others, ...known].sort(([, one], [, other]) => one.localeCompare(other));
}

interface FieldProps {
  value: string;
  onChange: (value: string) => void;
}

/** Searches when the field is left, or by Enter: each search reads the archive. */
function WordsField({ value, onChange }: FieldProps): ReactNode {
  const [words, setWords] = useState(value);
  const [shown, setShown] = useState(value);
  // The address has changed, for example by "back".
  if (shown !== value) {
    setShown(value);
    setWords(value);
  }
  return (
    <TextField
      label={t("events.words")}
      type="search"
      maxLength={200}
      placeholder={t("events.wordsHint")}
      value={words}
      onChange={(event) => setWords(event.target.value)}
      onBlur={() => onChange(words.trim())}
      onKeyDown={(event) => {
        if (event.key === "Enter") onChange(words.trim());
      }}
    />
  );
}

/** A time in the zone of this machine. The address has it in UTC. */
function TimeField({ label, value, onChange }: FieldProps & { label: string }): ReactNode {
  const at = new Date(value);
  const local = Number.isNaN(at.getTime())
    ? ""
    : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
  return (
    <TextField
      label={label}
      type="datetime-local"
      value={local}
      onChange={({ target }) => {
        const chosen = new Date(target.value);
        onChange(Number.isNaN(chosen.getTime()) ? "" : chosen.toISOString());
      }}
    />
  );
}
