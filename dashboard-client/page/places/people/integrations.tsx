import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { ConfirmDialog, FormDialog } from "../../ui/form-dialog.tsx";
import { When } from "../../ui/when.tsx";
import { IdField } from "./id-field.tsx";
import { type Integration, secretIn, useChange, useIntegrations } from "./people-api.ts";
import { levelName, PowersFields, powersOf, requestOf, VIEWER } from "./powers-fields.tsx";
import { RecordAction, RecordItem, Records } from "./records.tsx";
import { SecretDialog } from "./secret-dialog.tsx";

type Open =
  | { dialog: "new" }
  | { dialog: "edit" | "rotate" | "remove"; integration: Integration }
  | { dialog: "secret"; id: string; secret: string };

export function Integrations(): ReactNode {
  const { data, error, refetch } = useIntegrations();
  const change = useChange("integrations");
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const showSecret = (id: string, secret: string | undefined): void =>
    setOpen(secret === undefined ? undefined : { dialog: "secret", id, secret });
  return (
    <>
      <Records
        title={t("people.tab.integrations")}
        hint={t("people.integrationsHint")}
        items={data?.integrations}
        error={error}
        onRetry={() => void refetch()}
        none={t("people.noIntegrations")}
        actions={
          <button type="button" className="button primary" onClick={() => setOpen({ dialog: "new" })}>
            {t("people.addIntegration")}
          </button>
        }
      >
        {(integration) => (
          <RecordItem
            key={integration.id}
            testId="integration"
            title={integration.id}
            tags={[levelName(integration)]}
            actions={(["edit", "rotate", "remove"] as const).map((dialog) => (
              <RecordAction
                key={dialog}
                name={t(`people.${dialog}`)}
                of={integration.id}
                danger={dialog === "remove"}
                onClick={() => setOpen({ dialog, integration })}
              />
            ))}
          >
            <LastUse at={integration.last_used_at} />
            {integration.secrets.length !== 1 && (
              <span>{t("people.secrets", { count: integration.secrets.length })}</span>
            )}
          </RecordItem>
        )}
      </Records>
      {open?.dialog === "new" && <IntegrationDialog onSecret={showSecret} onClose={close} />}
      {open?.dialog === "edit" && (
        <IntegrationDialog integration={open.integration} onSecret={showSecret} onClose={close} />
      )}
      {open?.dialog === "rotate" && <RotateDialog id={open.integration.id} onSecret={showSecret} onClose={close} />}
      {open?.dialog === "secret" && (
        <SecretDialog title={t("people.secretOf", { name: open.id })} secret={open.secret} onClose={close} />
      )}
      {open?.dialog === "remove" && (
        <ConfirmDialog
          title={t("people.removeTitle", { name: open.integration.id })}
          description={t("people.removeIntegrationWhat")}
          action={t("people.remove")}
          onConfirm={() => change.mutateAsync({ method: "DELETE", path: `integrations/${open.integration.id}` })}
          onClose={close}
        />
      )}
    </>
  );
}

function LastUse({ at }: { at: string | undefined }): ReactNode {
  if (at === undefined) return <span>{t("people.neverUsed")}</span>;
  return (
    <>
      <span>{t("people.usedAt")}</span>
      <When at={at} form="age" />
    </>
  );
}

interface IntegrationDialogProps {
  /** Undefined: a new integration. */
  integration?: Integration;
  /** Called with the secret of a new integration. */
  onSecret: (id: string, secret: string | undefined) => void;
  onClose: () => void;
}

function IntegrationDialog({ integration, onSecret, onClose }: IntegrationDialogProps): ReactNode {
  const change = useChange("integrations");
  const [id, setId] = useState("");
  const [powers, setPowers] = useState(integration === undefined ? VIEWER : powersOf(integration));
  const path = integration === undefined ? "integrations" : `integrations/${integration.id}`;
  const rights = requestOf(powers);
  return (
    <FormDialog
      title={integration === undefined ? t("people.newIntegration") : t("people.editTitle", { user: integration.id })}
      action={integration === undefined ? t("people.addIntegration") : t("common.save")}
      onSend={() =>
        integration === undefined
          ? change.mutateAsync({ method: "POST", path, body: { id, ...rights } })
          : change.mutateAsync({ method: "PUT", path, body: rights })
      }
      onDone={(answer) => (integration === undefined ? onSecret(id, secretIn(answer)) : onClose())}
      onClose={onClose}
    >
      {integration === undefined && <IdField value={id} onChange={setId} />}
      <PowersFields value={powers} onChange={setPowers} />
    </FormDialog>
  );
}

/** How long the previous secret stays valid, seconds, and the key of the text. */
const OVERLAPS = [
  ["86400", "people.overlapDay"],
  ["604800", "people.overlapWeek"],
  ["0", "people.overlapNone"],
] as const;

function RotateDialog({ id, onSecret, onClose }: { id: string } & IntegrationDialogProps): ReactNode {
  const change = useChange("integrations");
  const [overlap, setOverlap] = useState<string>("86400");
  const body = { overlap_seconds: Number(overlap) };
  return (
    <FormDialog
      title={t("people.rotateTitle", { name: id })}
      description={t("people.rotateWhat")}
      action={t("people.rotate")}
      onSend={() => change.mutateAsync({ method: "POST", path: `integrations/${id}/rotate`, body })}
      onDone={(answer) => onSecret(id, secretIn(answer))}
      onClose={onClose}
    >
      <Choice
        label={t("people.overlap")}
        value={overlap}
        options={OVERLAPS.map(([value, key]) => [value, t(key)] as const)}
        onChange={setOverlap}
      />
    </FormDialog>
  );
}
