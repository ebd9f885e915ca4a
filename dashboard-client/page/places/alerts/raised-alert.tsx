import { type ReactNode, useId, useState } from "react";
import { Link } from "wouter";
import type { AlertNotes, AlertState } from "../../../state/alert-state.ts";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { Icon } from "../../components/icon.tsx";
import { useServices } from "../../services.tsx";
import { alertName, personName } from "../../text/alert-text.ts";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { useCameraNames, useCameraZones } from "../../use-cameras.ts";
import { useDashboard } from "../../use-dashboard.ts";
import { MuteDialog } from "./mute-dialog.tsx";

const TONES = { critical: "bad", warning: "warn", info: "quiet" };

interface RaisedAlertProps {
  alert: AlertState;
  notes: AlertNotes;
  isMuted: boolean;
}

export function RaisedAlert({ alert, notes, isMuted }: RaisedAlertProps): ReactNode {
  const { camera, service, severity, message, since } = alert;
  const path = pathOf(service, camera, alert.alert);
  const actions = useAlertActions(path, service, camera);
  const [dialogOpen, setDialogOpen] = useState(false);
  const zone = useCameraZones()[camera ?? ""];
  const acknowledged = notes.acknowledgement !== undefined;
  return (
    <li
      className="alerts-item"
      data-testid="alert-row"
      data-tone={isMuted ? "quiet" : TONES[severity]}
      data-acknowledged={acknowledged}
      data-muted={isMuted}
    >
      <span className="row-icon">
        <Icon name={isMuted ? "moon" : "alert"} />
      </span>
      <div className="alerts-words">
        <p className="alerts-message">
          <span className="alerts-severity">{t(`alerts.${severity}`)}</span>
          <span>{message}</span>
        </p>
        <p className="alerts-about">
          <Owner camera={camera} service={service} />
          <span>{alertName(alert.alert)}</span>
          <When at={since} cameraZone={zone} form="age" />
        </p>
        <NoteWords notes={notes} isMuted={isMuted} zone={zone} />
        {actions.problem !== undefined && (
          <p className="form-problem" role="alert">
            {actions.problem}
          </p>
        )}
      </div>
      <div className="alerts-actions">
        <button
          type="button"
          className="button"
          disabled={acknowledged || actions.forbidden !== undefined || actions.busy}
          aria-describedby={actions.forbidden === undefined ? undefined : actions.whyId}
          onClick={() => void actions.run("POST", "acknowledge")}
        >
          {acknowledged ? t("alerts.isAcknowledged") : t("alerts.acknowledge")}
        </button>
        <MuteButton isMuted={isMuted} actions={actions} onMute={() => setDialogOpen(true)} />
        {actions.forbidden !== undefined && (
          <p id={actions.whyId} className="field-note">
            {actions.forbidden}
          </p>
        )}
      </div>
      {dialogOpen && (
        <MuteDialog
          title={message}
          onClose={() => setDialogOpen(false)}
          onMute={(minutes) => actions.run("POST", "mute", { minutes })}
        />
      )}
    </li>
  );
}

/** A mute of an alert that is not raised now. @param of the key of the alert: `north/disk` or `service:farm/job-queue` */
export function MutedAlert({ of: key, notes }: { of: string; notes: AlertNotes }): ReactNode {
  const [owner = "", name = ""] = key.split("/");
  const service = owner.startsWith("service:") ? owner.slice("service:".length) : undefined;
  const camera = service === undefined ? owner : undefined;
  const actions = useAlertActions(pathOf(service, camera, name), service, camera);
  return (
    <li className="alerts-item" data-testid="muted-alert" data-tone="quiet">
      <span className="row-icon">
        <Icon name="moon" />
      </span>
      <div className="alerts-words">
        <p className="alerts-message">{alertName(name)}</p>
        <p className="alerts-about">
          <Owner camera={camera} service={service} />
        </p>
        <NoteWords notes={notes} isMuted zone={undefined} />
      </div>
      <div className="alerts-actions">
        <MuteButton isMuted actions={actions} onMute={() => {}} />
        {actions.forbidden !== undefined && (
          <p id={actions.whyId} className="field-note">
            {actions.forbidden}
          </p>
        )}
      </div>
    </li>
  );
}

function MuteButton(props: { isMuted: boolean; actions: AlertActions; onMute: () => void }): ReactNode {
  const { isMuted, actions, onMute } = props;
  return (
    <button
      type="button"
      className="button"
      disabled={actions.forbidden !== undefined || actions.busy}
      aria-describedby={actions.forbidden === undefined ? undefined : actions.whyId}
      onClick={isMuted ? () => void actions.run("DELETE", "mute") : onMute}
    >
      {isMuted ? t("alerts.unmute") : t("alerts.mute")}
    </button>
  );
}

interface NoteWordsProps {
  notes: AlertNotes;
  isMuted: boolean;
  zone: string | undefined;
}

function NoteWords({ notes: { acknowledgement, mute }, isMuted, zone }: NoteWordsProps): ReactNode {
  if (acknowledgement === undefined && !isMuted) return null;
  return (
    <ul className="alerts-notes">
      {acknowledgement !== undefined && (
        <li>
          <span>{t("alerts.acknowledgedBy", { by: personName(acknowledgement.by) })}</span>
          <When at={acknowledgement.at} cameraZone={zone} form="age" />
        </li>
      )}
      {isMuted && mute?.until !== undefined && (
        <li>
          <span>{t("alerts.mutedBy", { by: personName(mute.by) })}</span>
          <When at={mute.until} cameraZone={zone} form="minute" />
        </li>
      )}
    </ul>
  );
}

const cameraIds = ({ cameras }: RealTimeData): string[] => [...cameras.keys()];

/** The name of a camera links to the camera. */
function Owner({ camera, service }: Record<"camera" | "service", string | undefined>): ReactNode {
  const names = useCameraNames();
  const isShown = useDashboard(cameraIds).includes(camera ?? "");
  if (camera === undefined) return <span>{service}</span>;
  return isShown ? <Link href={`/cameras/${camera}`}>{names[camera] ?? camera}</Link> : <span>{camera}</span>;
}

function pathOf(service: string | undefined, camera: string | undefined, alert: string): string {
  return `${service === undefined ? `cameras/${camera}` : `processing/${service}`}/alerts/${alert}`;
}

type AlertActions = ReturnType<typeof useAlertActions>;

const rightsPart = ({ grants, live }: RealTimeData) => ({ grants, live });

/** What the token may do about an alert. The event of the change updates the page, so nothing is read again. */
function useAlertActions(path: string, service: string | undefined, camera: string | undefined) {
  const { api } = useServices();
  const { grants, live } = useDashboard(rightsPart);
  const whyId = useId();
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const isAllowed = service === undefined ? grants.canCommand(camera ?? "") : grants.admin;
  const forbidden = !live
    ? t("alerts.notConnected")
    : isAllowed
      ? undefined
      : t(service === undefined ? "alerts.mayNotControl" : "alerts.adminsOnly");

  /** Rejects with a message for the user. */
  const run = async (method: "POST" | "DELETE", action: string, body?: object): Promise<void> => {
    setBusy(true);
    setProblem(undefined);
    try {
      await api.request(`${path}/${action}`, { method, ...(body === undefined ? {} : { body }) });
    } catch (error) {
      setProblem(error instanceof Error ? error.message : String(error));
    } finally {
      setBusy(false);
    }
  };
  return { run, busy, problem, forbidden, whyId };
}
