import { useMutation, useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { navigate } from "../../../hash-location.ts";
import { useServices } from "../../../services.tsx";
import { t } from "../../../text/i18n.ts";
import { Dialog } from "../../../ui/dialog.tsx";
import { ConfirmDialog } from "../../../ui/form-dialog.tsx";

interface Device {
  id: string;
  /** The camera proves itself by a certificate with this name. Undefined: by a secret. */
  certificateName: string | undefined;
}

interface DeviceSectionProps {
  camera: string;
  name: string;
  /** Why nothing can be changed now. */
  forbidden: string | undefined;
}

/** The secret of a camera, and its removal. */
export function DeviceSection({ camera, name, forbidden }: DeviceSectionProps): ReactNode {
  const { api } = useServices();
  const devices = useQuery({
    queryKey: ["devices"],
    queryFn: async ({ signal }) => devicesIn(await api.request("devices", { signal })),
  });
  const [asked, setAsked] = useState<"rotate" | "remove">();
  const rotate = useMutation({
    mutationFn: async () =>
      secretIn(await api.request(`devices/${encodeURIComponent(camera)}/rotate`, { method: "POST" })),
  });
  const device = devices.data?.find(({ id }) => id === camera);
  let why = forbidden;
  if (why === undefined && devices.isPending) why = t("common.loading");
  else if (why === undefined && devices.isError) why = t("common.loadingFailed", { reason: devices.error.message });
  else if (why === undefined && device === undefined) why = t("manage.notRegistered");
  const remove = async (): Promise<void> => {
    await api.request(`devices/${encodeURIComponent(camera)}`, { method: "DELETE" });
    navigate("/");
  };
  return (
    <section className="panel form" aria-label={t("manage.device")}>
      <h2>{t("manage.device")}</h2>
      {why !== undefined && (
        <p id="device-why" className="field-note">
          {why}
        </p>
      )}
      <div className="device-action">
        <button
          type="button"
          className="button"
          disabled={why !== undefined}
          aria-describedby="device-rotate"
          onClick={() => setAsked("rotate")}
        >
          {t("manage.rotate")}
        </button>
        <span id="device-rotate" className="field-note">
          {t("manage.rotateNote")}
        </span>
      </div>
      <div className="device-action">
        <button
          type="button"
          className="button danger"
          disabled={why !== undefined}
          aria-describedby="device-remove"
          onClick={() => setAsked("remove")}
        >
          {t("manage.remove")}
        </button>
        <span id="device-remove" className="field-note">
          {t("manage.removeNote")}
        </span>
      </div>
      {asked === "rotate" && (
        <ConfirmDialog
          title={t("manage.rotateTitle", { name })}
          description={
            device?.certificateName === undefined
              ? t("manage.rotateWhat")
              : t("manage.rotateCertificate", { certificate: device.certificateName })
          }
          action={t("manage.rotate")}
          onConfirm={() => rotate.mutateAsync()}
          onClose={() => setAsked(undefined)}
        />
      )}
      {asked === "remove" && (
        <ConfirmDialog
          title={t("manage.removeTitle", { name })}
          description={t("manage.removeWhat", { id: camera })}
          action={t("manage.remove")}
          onConfirm={remove}
          onClose={() => setAsked(undefined)}
        />
      )}
      {rotate.data !== undefined && asked === undefined && (
        <SecretDialog secret={rotate.data} name={name} onClose={() => rotate.reset()} />
      )}
    </section>
  );
}

/** The only time that anybody sees the secret. */
function SecretDialog({ secret, name, onClose }: { secret: string; name: string; onClose: () => void }): ReactNode {
  const [isCopied, setCopied] = useState(false);
  return (
    <Dialog title={t("manage.secretTitle", { name })} description={t("manage.secretWhat")} onClose={onClose}>
      <code className="secret" data-testid="new-secret" translate="no">
        {secret}
      </code>
      <div className="dialog-actions">
        <output aria-live="polite">{isCopied && t("manage.copied")}</output>
        <button
          type="button"
          className="button"
          onClick={() =>
            void navigator.clipboard.writeText(secret).then(
              () => setCopied(true),
              () => setCopied(false),
            )
          }
        >
          {t("manage.copy")}
        </button>
        <button type="button" className="button primary" onClick={onClose}>
          {t("manage.secretKept")}
        </button>
      </div>
    </Dialog>
  );
}

/** @throws TypeError the answer is not that of `GET /devices` */
function devicesIn(answer: unknown): Device[] {
  const { devices } = Object(answer) as { devices?: unknown };
  if (!Array.isArray(devices)) throw new TypeError("GET /devices has no list of devices");
  return devices.map((each: unknown) => {
    const { id, certificate_name } = Object(each) as { id?: unknown; certificate_name?: unknown };
    const certificateName = typeof certificate_name === "string" ? certificate_name : undefined;
    return { id: String(id), certificateName };
  });
}

/** @throws TypeError the answer has no secret */
function secretIn(answer: unknown): string {
  const { secret } = Object(answer) as { secret?: unknown };
  if (typeof secret !== "string") throw new TypeError("the answer has no secret");
  return secret;
}
