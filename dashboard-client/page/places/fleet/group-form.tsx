import { type FormEvent, type ReactNode, useMemo, useState } from "react";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { nameOf } from "../../text/camera-status.ts";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";
import { useDashboard } from "../../use-dashboard.ts";
import { type CameraGroup, idFor, useGroups, useSaveGroup } from "./groups-api.ts";

interface GroupFormProps {
  /** Undefined: a new group. */
  group: CameraGroup | undefined;
  onDone: () => void;
}

/** Name and cameras of a group. */
export function GroupForm({ group, onDone }: GroupFormProps): ReactNode {
  const [name, setName] = useState(group?.name ?? "");
  const [cameras, setCameras] = useState<ReadonlySet<string>>(() => new Set(group?.cameras));
  const { data: groups = [] } = useGroups();
  const save = useSaveGroup();
  const id = group?.id ?? freeId(idFor(name), groups);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const change = { id, name: name.trim(), cameras: [...cameras], version: group?.version };
    save.mutate({ ...change, isNew: group === undefined }, { onSuccess: onDone });
  };
  return (
    <form className="form" onSubmit={submit}>
      <TextField
        label={t("groups.groupName")}
        value={name}
        onChange={(event) => setName(event.target.value)}
        maxLength={100}
        required
        autoFocus
        hint={id === "" ? t("groups.groupIdMissing") : t("groups.groupId", { id })}
      />
      <CameraChoice chosen={cameras} onChange={setCameras} />
      {save.error !== null && (
        <p className="form-problem" role="alert">
          {save.error.message}
        </p>
      )}
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onDone}>
          {t("common.cancel")}
        </button>
        <button type="submit" className="button primary" disabled={save.isPending || id === ""}>
          {t("common.save")}
        </button>
      </div>
    </form>
  );
}

/** Two names may differ only in characters that an id cannot have. */
function freeId(id: string, groups: readonly CameraGroup[]): string {
  const isTaken = (one: string): boolean => groups.some((group) => group.id === one);
  if (id === "" || !isTaken(id)) return id;
  let number = 2;
  while (isTaken(`${id}-${number}`)) number++;
  return `${id}-${number}`;
}

const cameraIds = ({ cameras }: RealTimeData): string[] => [...cameras.keys()];

interface CameraChoiceProps {
  chosen: ReadonlySet<string>;
  onChange: (chosen: ReadonlySet<string>) => void;
}

function CameraChoice({ chosen, onChange }: CameraChoiceProps): ReactNode {
  const [search, setSearch] = useState("");
  const known = useDashboard(cameraIds);
  // A group may contain a camera that never came. The order does not change while somebody chooses.
  const all = useMemo(() => [...new Set([...known, ...chosen])].sort(), [known, chosen]);
  const names = useDashboard(useMemo(() => (data: RealTimeData) => all.map((id) => nameOf(data, id) ?? id), [all]));
  const words = search.toLowerCase();
  const toggle = (id: string): void => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    onChange(next);
  };
  return (
    <fieldset className="fleet-members">
      <legend>{t("groups.groupCameras", { count: chosen.size })}</legend>
      <input
        type="search"
        className="search-field"
        value={search}
        placeholder={t("fleet.search")}
        aria-label={t("fleet.search")}
        onChange={(event) => setSearch(event.target.value)}
      />
      <ul>
        {all.map((id, index) => {
          const name = names[index] ?? id;
          if (!`${id} ${name}`.toLowerCase().includes(words)) return null;
          return (
            <li key={id}>
              <label>
                <input type="checkbox" checked={chosen.has(id)} onChange={() => toggle(id)} />
                <span>{name}</span>
                {name !== id && <span className="fleet-member-id">{id}</span>}
              </label>
            </li>
          );
        })}
      </ul>
    </fieldset>
  );
}
