import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useId, useState } from "react";
import { useServices } from "../../../services.tsx";
import { t } from "../../../text/i18n.ts";
import { TextField } from "../../../ui/text-field.tsx";
import { SaveRow } from "../save-row.tsx";

export interface RecordTexts {
  name: string;
  notes: string;
  lat: string;
  lon: string;
}

interface RecordFormProps {
  camera: string;
  /** What is written about the camera now. */
  record: RecordTexts;
  /** What the camera itself says. */
  own: { name: string; lat: number | undefined; lon: number | undefined };
  /** Why nothing can be changed now. */
  forbidden: string | undefined;
}

export function recordKey(camera: string): readonly string[] {
  return ["camera-record", camera];
}

/** Name, notes and place on the map. An empty field means what the camera itself says. */
export function RecordForm({ camera, record, own, forbidden }: RecordFormProps): ReactNode {
  const { api } = useServices();
  const queries = useQueryClient();
  const [texts, setTexts] = useState(record);
  const set = (change: Partial<RecordTexts>): void => setTexts({ ...texts, ...change });
  const latProblem = coordinateProblem(texts.lat, texts.lon, 90);
  const lonProblem = coordinateProblem(texts.lon, texts.lat, 180);
  const isChanged = JSON.stringify(texts) !== JSON.stringify(record);
  const save = useMutation({
    mutationFn: () => api.request(`cameras/${encodeURIComponent(camera)}`, { method: "PUT", body: bodyOf(texts) }),
    onSuccess: () => queries.invalidateQueries({ queryKey: recordKey(camera) }),
  });
  const whyId = useId();
  const notesId = useId();
  const isWrong = latProblem !== undefined || lonProblem !== undefined;
  const why = forbidden ?? (isWrong ? t("manage.whyWrong") : isChanged ? undefined : t("manage.whyUnchanged"));
  return (
    <form
      className="panel form"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <h2>{t("manage.record")}</h2>
      <TextField
        label={t("manage.name")}
        maxLength={100}
        placeholder={own.name}
        hint={t("manage.nameHint", { name: own.name })}
        value={texts.name}
        onChange={(event) => set({ name: event.target.value })}
      />
      <div className="field">
        <label htmlFor={notesId}>{t("manage.notes")}</label>
        <textarea
          id={notesId}
          rows={4}
          maxLength={4000}
          value={texts.notes}
          onChange={(event) => set({ notes: event.target.value })}
        />
      </div>
      <div className="form-row">
        <TextField
          label={t("manage.lat")}
          inputMode="decimal"
          placeholder={own.lat === undefined ? "" : String(own.lat)}
          problem={latProblem}
          value={texts.lat}
          onChange={(event) => set({ lat: event.target.value })}
        />
        <TextField
          label={t("manage.lon")}
          inputMode="decimal"
          placeholder={own.lon === undefined ? "" : String(own.lon)}
          problem={lonProblem}
          value={texts.lon}
          onChange={(event) => set({ lon: event.target.value })}
        />
      </div>
      <p className="field-note">{t("manage.placeHint")}</p>
      <SaveRow action={t("common.save")} save={save} why={why} whyId={whyId} isSaved={save.isSuccess && !isChanged} />
    </form>
  );
}

function numberOf(text: string): number {
  const trimmed = text.trim().replace(",", ".");
  return trimmed === "" ? Number.NaN : Number(trimmed);
}

/** Both coordinates or none. */
function coordinateProblem(text: string, other: string, max: number): string | undefined {
  if (text.trim() === "") return other.trim() === "" ? undefined : t("manage.bothCoordinates");
  return Math.abs(numberOf(text)) <= max ? undefined : t("manage.coordinateWrong", { max });
}

function bodyOf({ name, notes, lat, lon }: RecordTexts): Record<string, unknown> {
  const location = lat.trim() === "" ? null : { lat: numberOf(lat), lon: numberOf(lon) };
  return { name: name.trim() || null, notes: notes.trim() === "" ? null : notes, location };
}
