import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { Dialog } from "../../ui/dialog.tsx";

/** Minutes, and the key of the text. */
const TIMES = [
  ["60", "alerts.hour"],
  ["480", "alerts.eightHours"],
  ["1440", "alerts.day"],
  ["10080", "alerts.week"],
  ["43200", "alerts.month"],
] as const;

interface MuteDialogProps {
  /** The message of the alert. */
  title: string;
  onMute: (minutes: number) => Promise<void>;
  onClose: () => void;
}

export function MuteDialog({ title, onMute, onClose }: MuteDialogProps): ReactNode {
  const [minutes, setMinutes] = useState<string>("60");
  const [busy, setBusy] = useState(false);
  const mute = (): void => {
    setBusy(true);
    void onMute(Number(minutes)).finally(onClose);
  };
  return (
    <Dialog title={t("alerts.muteTitle")} description={t("alerts.muteHint", { alert: title })} onClose={onClose}>
      <Choice
        label={t("alerts.muteFor")}
        value={minutes}
        options={TIMES.map(([value, key]) => [value, t(key)] as const)}
        onChange={setMinutes}
      />
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onClose}>
          {t("common.cancel")}
        </button>
        <button type="button" className="button primary" disabled={busy} onClick={mute}>
          {t("alerts.muteNow")}
        </button>
      </div>
    </Dialog>
  );
}
