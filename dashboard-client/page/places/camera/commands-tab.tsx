import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { useCommand } from "../../../react/use-command.ts";
import { Icon, type IconName } from "../../components/icon.tsx";
import { t } from "../../text/i18n.ts";
import { ConfirmDialog } from "../../ui/form-dialog.tsx";
import { useNow } from "../../use-now.ts";
import type { CameraTabProps } from "./camera-tab-props.ts";
import { CommandHistory, historyKey } from "./commands/command-history.tsx";
import { commandName, progressText } from "./commands/command-text.ts";
import { SleepDialog } from "./commands/sleep-dialog.tsx";
import { type CameraControl, useCameraControl, whyNot } from "./use-camera-control.ts";

const ICONS = { "capture.now": "aperture", "preview.send": "picture", sleep: "moon", reboot: "power" } as const;
type Offered = keyof typeof ICONS;
const OFFERED: readonly Offered[] = ["capture.now", "preview.send", "sleep", "reboot"];
/** The longest time that a command may wait for a camera to wake up, seconds. */
const MAX_WAIT_S = 86_400;
const WAKE_MARGIN_S = 300;
/** The archive stores events a moment after they happen. */
const ARCHIVE_DELAY_MS = 1_500;

/** What a camera can be told, and what it was told: `#/cameras/north/commands`. */
export default function CommandsTab({ camera }: CameraTabProps): ReactNode {
  const control = useCameraControl(camera);
  const { about, presence } = control;
  const { state, send } = useCommand(camera);
  const [sent, setSent] = useState<Offered>();
  const [dialog, setDialog] = useState<"sleep" | "reboot">();
  const queries = useQueryClient();
  const now = useNow();
  const name = about?.value.name ?? camera;
  const isSleeping = presence?.value.status === "sleeping";
  const isBusy = state.status === "pending";
  const isOver = state.status === "done" || state.status === "failed";

  useEffect(() => {
    if (!isOver) return;
    const timer = setTimeout(() => void queries.invalidateQueries({ queryKey: historyKey(camera) }), ARCHIVE_DELAY_MS);
    return () => clearTimeout(timer);
  }, [isOver, camera, queries]);

  const give = (command: Offered, args: Record<string, unknown> = {}): void => {
    setSent(command);
    const wakesAt = isSleeping ? Date.parse(presence?.value.until ?? "") : Number.NaN;
    const waitS = Number.isNaN(wakesAt) ? 0 : Math.ceil((wakesAt - now) / 1000) + WAKE_MARGIN_S;
    void send(command, args, waitS > 0 ? { expiresIn: Math.min(MAX_WAIT_S, waitS) } : {});
  };
  const start = (command: Offered): void => {
    if (command === "sleep" || command === "reboot") setDialog(command);
    else give(command);
  };
  const progress = progressText(state, isSleeping);
  return (
    <div className="control-tab">
      <section className="panel commands" aria-label={t("camera.tab.commands")}>
        {OFFERED.map((command) => (
          <CommandRow
            key={command}
            command={command}
            why={isBusy ? t("manage.whyBusy") : whyNotNow(control, command)}
            note={isSleeping ? t("manage.waitsForWake") : t(`manage.about_${command.replace(".", "_") as "reboot"}`)}
            onGive={() => start(command)}
          />
        ))}
        <output
          className="command-progress"
          data-tone={progress?.tone}
          data-testid="command-progress"
          aria-live="polite"
        >
          {progress !== undefined && sent !== undefined && (
            <>
              <span className="dot" aria-hidden="true" />
              <span>{t("manage.progress", { command: commandName(sent), status: progress.text })}</span>
            </>
          )}
        </output>
      </section>
      <CommandHistory camera={camera} zone={about?.value.location.timezone} />
      {dialog === "sleep" && (
        <SleepDialog
          name={name}
          maxDays={about?.value.capabilities?.max_sleep_days}
          onSleep={(until) => give("sleep", { until: until.toISOString() })}
          onClose={() => setDialog(undefined)}
        />
      )}
      {dialog === "reboot" && (
        <ConfirmDialog
          title={t("manage.rebootTitle", { name })}
          description={t("manage.rebootWhat")}
          action={commandName("reboot")}
          onConfirm={async () => give("reboot")}
          onClose={() => setDialog(undefined)}
        />
      )}
    </div>
  );
}

/** A command reaches a connected camera, and waits for a sleeping one. */
function whyNotNow(control: CameraControl, command: Offered): string | undefined {
  const why = whyNot(control, command);
  if (why !== undefined) return why;
  const status = control.presence?.value.status;
  if (status === "sleeping" && command === "sleep") return t("manage.whyAsleep");
  const isReachable = status === undefined || status === "online" || status === "stale" || status === "sleeping";
  return isReachable ? undefined : t("manage.whyOffline");
}

interface CommandRowProps {
  command: Offered;
  /** Why the command cannot be given now. */
  why: string | undefined;
  note: string;
  onGive: () => void;
}

function CommandRow({ command, why, note, onGive }: CommandRowProps): ReactNode {
  const icon: IconName = ICONS[command];
  const noteId = `command-${command.replace(".", "-")}`;
  return (
    <div className="command-offer">
      <button type="button" className="button" disabled={why !== undefined} aria-describedby={noteId} onClick={onGive}>
        <Icon name={icon} />
        <span>{commandName(command)}</span>
      </button>
      <span id={noteId} className="field-note">
        {why ?? note}
      </span>
    </div>
  );
}
