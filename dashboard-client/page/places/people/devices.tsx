import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { ConfirmDialog, FormDialog } from "../../ui/form-dialog.tsx";
import { When } from "../../ui/when.tsx";
import { useCameraNames } from "../../use-cameras.ts";
import { IdField } from "./id-field.tsx";
import { type Device, secretIn, useChange, useDevices } from "./people-api.ts";
import { RecordAction, RecordItem, Records } from "./records.tsx";
import { SecretDialog } from "./secret-dialog.tsx";

type Open =
  | { dialog: "new" }
  | { dialog: "rotate" | "remove"; device: Device }
  | { dialog: "secret"; id: string; secret: string };

export function Devices(): ReactNode {
  const { data, error, refetch } = useDevices();
  const change = useChange("devices");
  const names = useCameraNames();
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const showSecret = (id: string, secret: string | undefined): void =>
    setOpen(secret === undefined ? undefined : { dialog: "secret", id, secret });
  return (
    <>
      <Records
        title={t("people.tab.devices")}
        hint={t("people.devicesHint")}
        items={data?.devices}
        error={error}
        onRetry={() => void refetch()}
        none={t("people.noDevices")}
        actions={
          <button type="button" className="button primary" onClick={() => setOpen({ dialog: "new" })}>
            {t("people.addDevice")}
          </button>
        }
      >
        {(device) => (
          <RecordItem
            key={device.id}
            testId="device"
            title={device.id}
            tags={[kindName(device.kind)]}
            actions={
              <>
                <RecordAction
                  name={t("people.rotate")}
                  of={device.id}
                  forbidden={device.certificate_name === undefined ? undefined : t("people.hasCertificate")}
                  onClick={() => setOpen({ dialog: "rotate", device })}
                />
                <RecordAction
                  name={t("people.remove")}
                  of={device.id}
                  danger
                  onClick={() => setOpen({ dialog: "remove", device })}
                />
              </>
            }
          >
            {names[device.id] !== undefined && names[device.id] !== device.id && <span>{names[device.id]}</span>}
            {device.certificate_name !== undefined && (
              <span>{t("people.certificate", { name: device.certificate_name })}</span>
            )}
            <span>{t("people.changed")}</span>
            <When at={device.changed_at} form="minute" />
          </RecordItem>
        )}
      </Records>
      {open?.dialog === "new" && <DeviceDialog onSecret={showSecret} onClose={close} />}
      {open?.dialog === "secret" && (
        <SecretDialog title={t("people.secretOf", { name: open.id })} secret={open.secret} onClose={close} />
      )}
      {open?.dialog === "rotate" && (
        <FormDialog
          title={t("people.rotateTitle", { name: open.device.id })}
          description={t("people.rotateDeviceWhat")}
          action={t("people.rotate")}
          onSend={() => change.mutateAsync({ method: "POST", path: `devices/${open.device.id}/rotate` })}
          onDone={(answer) => showSecret(open.device.id, secretIn(answer))}
          onClose={close}
        />
      )}
      {open?.dialog === "remove" && (
        <ConfirmDialog
          title={t("people.removeTitle", { name: open.device.id })}
          description={t("people.removeDeviceWhat")}
          action={t("people.remove")}
          onConfirm={() => change.mutateAsync({ method: "DELETE", path: `devices/${open.device.id}` })}
          onClose={close}
        />
      )}
    </>
  );
}

function kindName(kind: string): string {
  return kind === "processing" ? t("people.kindProcessing") : t("people.kindCamera");
}

interface DeviceDialogProps {
  onSecret: (id: string, secret: string | undefined) => void;
  onClose: () => void;
}

function DeviceDialog({ onSecret, onClose }: DeviceDialogProps): ReactNode {
  const change = useChange("devices");
  const [id, setId] = useState("");
  const [kind, setKind] = useState("camera");
  return (
    <FormDialog
      title={t("people.newDevice")}
      action={t("people.addDevice")}
      onSend={() => change.mutateAsync({ method: "POST", path: "devices", body: { id, kind } })}
      onDone={(answer) => onSecret(id, secretIn(answer))}
      onClose={onClose}
    >
      <IdField value={id} onChange={setId} />
      <Choice
        label={t("people.kind")}
        value={kind}
        options={["camera", "processing"].map((each) => [each, kindName(each)] as const)}
        onChange={setKind}
      />
    </FormDialog>
  );
}
