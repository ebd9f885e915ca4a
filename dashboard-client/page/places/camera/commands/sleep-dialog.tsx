import { type ReactNode, useState } from "react";
import { formatDuration } from "../../../text/format.ts";
import { t } from "../../../text/i18n.ts";
import { Dialog } from "../../../ui/dialog.tsx";
import { TextField } from "../../../ui/text-field.tsx";
import { useNow } from "../../../use-now.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const PRESETS_MS = [HOUR_MS, 8 * HOUR_MS, DAY_MS] as const;

interface SleepDialogProps {
  name: string;
  /** The longest sleep that the camera accepts; undefined: no limit. */
  maxDays: number | undefined;
  onSleep: (until: Date) => void;
  onClose: () => void;
}

/** Asks how long a camera shall sleep: no command reaches it until then. */
export function SleepDialog({ name, maxDays, onSleep, onClose }: SleepDialogProps): ReactNode {
  const now = useNow();
  const [text, setText] = useState(() => localText(new Date(now + HOUR_MS)));
  const until = new Date(text);
  const lengthMs = until.getTime() - now;
  const isTooLong = maxDays !== undefined && lengthMs > maxDays * DAY_MS;
  let problem: string | undefined;
  if (!(lengthMs > 0)) problem = t("manage.sleepPast");
  else if (isTooLong) problem = t("manage.sleepTooLong", { days: maxDays });
  return (
    <Dialog title={t("manage.sleepTitle", { name })} description={t("manage.sleepWhat")} onClose={onClose}>
      <div className="button-row">
        {PRESETS_MS.map((preset) => (
          <button
            key={preset}
            type="button"
            className="button"
            onClick={() => setText(localText(new Date(now + preset)))}
          >
            {formatDuration(preset)}
          </button>
        ))}
      </div>
      <TextField
        label={t("manage.sleepUntil")}
        type="datetime-local"
        value={text}
        problem={problem}
        hint={problem === undefined ? t("manage.sleepFor", { duration: formatDuration(lengthMs) }) : ""}
        onChange={(event) => setText(event.target.value)}
      />
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onClose}>
          {t("common.cancel")}
        </button>
        <button
          type="button"
          className="button primary"
          disabled={problem !== undefined}
          onClick={() => {
            onSleep(until);
            onClose();
          }}
        >
          {t("manage.sleep")}
        </button>
      </div>
    </Dialog>
  );
}

/** A time in the form of the field, by the clock of this machine, without seconds. */
function localText(at: Date): string {
  const shifted = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}
