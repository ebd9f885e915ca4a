import { type ReactNode, useCallback, useState } from "react";
import { Link } from "wouter";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";
import { useDashboard } from "../../use-dashboard.ts";
import { commandLine, type NewCamera, settingsOf } from "./camera-settings.ts";
import { CopyButton } from "./copy-button.tsx";
import { QrCode } from "./qr-code.tsx";

export interface AddedCamera {
  camera: NewCamera;
  /** Where the camera connects. */
  broker: string;
}

interface CameraInstructionsProps {
  added: AddedCamera;
  onAnother: () => void;
}

/** What must be done at the camera, and whether it has connected. */
export function CameraInstructions({ added, onAnother }: CameraInstructionsProps): ReactNode {
  const { camera } = added;
  const [broker, setBroker] = useState(added.broker);
  const select = useCallback(
    ({ cameras }: RealTimeData) => cameras.get(camera.id)?.presence?.value.status === "online",
    [camera.id],
  );
  const online = useDashboard(select);
  const settings = settingsOf(camera, broker);
  const json = JSON.stringify(settings, undefined, 2);
  const command = commandLine(settings);
  return (
    <section className="panel first-run-steps" data-testid="camera-instructions">
      <p className="first-run-state" role="status" data-tone={online ? "good" : "warn"}>
        <span className="dot" aria-hidden="true" />
        <span>{t(online ? "firstRun.connected" : "firstRun.waiting", { camera: camera.id })}</span>
        {online && <Link href={`/cameras/${camera.id}`}>{t("firstRun.open")}</Link>}
      </p>
      <p>{t("firstRun.secretOnce")}</p>
      <TextField
        label={t("firstRun.broker")}
        hint={t("firstRun.brokerHint")}
        value={broker}
        onChange={({ target }) => setBroker(target.value)}
      />
      <div className="first-run-ways">
        <div>
          <h2>{t("firstRun.command")}</h2>
          <p className="field-note">{t("firstRun.commandHint")}</p>
          {/* A keyboard can scroll the command. */}
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard */}
          <pre tabIndex={0} translate="no" data-testid="camera-command">
            {command}
          </pre>
          <CopyButton text={command} />
          <h2>{t("firstRun.file")}</h2>
          <p className="field-note">{t("firstRun.fileHint")}</p>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard */}
          <pre tabIndex={0} translate="no">
            {json}
          </pre>
          <CopyButton text={json} />
        </div>
        <div>
          <h2>{t("firstRun.qr")}</h2>
          <p className="field-note">{t("firstRun.qrHint")}</p>
          <QrCode content={JSON.stringify(settings)} label={t("firstRun.qrLabel", { camera: camera.id })} />
        </div>
      </div>
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onAnother}>
          {t("firstRun.another")}
        </button>
      </div>
    </section>
  );
}
