import { type ReactNode, useState } from "react";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { ConfirmDialog } from "../../ui/form-dialog.tsx";
import { When } from "../../ui/when.tsx";
import { AccountDialog } from "./account-dialog.tsx";
import { type Account, useAccounts, useCameraGroups, useChange } from "./people-api.ts";
import { levelName } from "./powers-fields.tsx";
import { RecordAction, RecordItem, Records } from "./records.tsx";
import { SessionsDialog } from "./sessions-dialog.tsx";

type Open = { dialog: "new" } | { dialog: "edit" | "sessions" | "disable" | "revoke" | "remove"; account: Account };

export function Accounts(): ReactNode {
  const { data, error, refetch } = useAccounts();
  const groups = useCameraGroups().data?.groups ?? [];
  const change = useChange("users");
  const { access } = useServices();
  const [open, setOpen] = useState<Open>();
  const close = (): void => setOpen(undefined);
  const nameOf = (id: string): string => groups.find((group) => group.id === id)?.name ?? id;
  const send = (account: Account, body: object): Promise<unknown> =>
    change.mutateAsync({ method: "PUT", path: `users/${encodeURIComponent(account.user_id)}`, body });

  return (
    <>
      <Records
        title={t("people.tab.accounts")}
        hint={t("people.accountsHint")}
        items={data?.users}
        error={error}
        onRetry={() => void refetch()}
        none={t("people.noAccounts")}
        actions={
          <button type="button" className="button primary" onClick={() => setOpen({ dialog: "new" })}>
            {t("people.addAccount")}
          </button>
        }
      >
        {(account) => {
          const { user_id: id, enabled, camera_groups: limit, changed_at } = account;
          const own = id === access.userId ? t("people.ownAccount") : undefined;
          const tags = [levelName(account), ...(enabled ? [] : [t("people.disabled")])];
          return (
            <RecordItem
              key={id}
              testId="account"
              title={id}
              tags={own === undefined ? tags : [...tags, t("people.you")]}
              actions={
                <>
                  <RecordAction name={t("people.edit")} of={id} onClick={() => setOpen({ dialog: "edit", account })} />
                  <RecordAction
                    name={t("people.sessions")}
                    of={id}
                    onClick={() => setOpen({ dialog: "sessions", account })}
                  />
                  {enabled ? (
                    <RecordAction
                      name={t("people.disable")}
                      of={id}
                      danger
                      forbidden={own}
                      onClick={() => setOpen({ dialog: "disable", account })}
                    />
                  ) : (
                    <RecordAction
                      name={t("people.enable")}
                      of={id}
                      onClick={() => void send(account, { enabled: true })}
                    />
                  )}
                  <RecordAction
                    name={t("people.revoke")}
                    of={id}
                    danger
                    onClick={() => setOpen({ dialog: "revoke", account })}
                  />
                  <RecordAction
                    name={t("people.remove")}
                    of={id}
                    danger
                    forbidden={own}
                    onClick={() => setOpen({ dialog: "remove", account })}
                  />
                </>
              }
            >
              {limit !== undefined && <span>{t("people.onlyGroups", { groups: limit.map(nameOf).join(", ") })}</span>}
              <span>{t("people.changed")}</span>
              <When at={changed_at} form="minute" />
            </RecordItem>
          );
        }}
      </Records>
      {change.error !== null && open === undefined && (
        <p className="form-problem" role="alert">
          {change.error.message}
        </p>
      )}
      {open?.dialog === "new" && <AccountDialog groups={groups} onClose={close} />}
      {open?.dialog === "edit" && <AccountDialog account={open.account} groups={groups} onClose={close} />}
      {open?.dialog === "sessions" && <SessionsDialog userId={open.account.user_id} onClose={close} />}
      {open?.dialog === "disable" && (
        <ConfirmDialog
          title={t("people.disableTitle", { user: open.account.user_id })}
          description={t("people.disableWhat")}
          action={t("people.disable")}
          onConfirm={() => send(open.account, { enabled: false })}
          onClose={close}
        />
      )}
      {open?.dialog === "revoke" && (
        <ConfirmDialog
          title={t("people.revokeTitle", { user: open.account.user_id })}
          description={t("people.revokeWhat")}
          action={t("people.revoke")}
          onConfirm={() =>
            change.mutateAsync({ method: "POST", path: "auth/revoke", body: { user_id: open.account.user_id } })
          }
          onClose={close}
        />
      )}
      {open?.dialog === "remove" && (
        <ConfirmDialog
          title={t("people.removeTitle", { name: open.account.user_id })}
          description={t("people.removeAccountWhat")}
          action={t("people.remove")}
          onConfirm={() =>
            change.mutateAsync({ method: "DELETE", path: `users/${encodeURIComponent(open.account.user_id)}` })
          }
          onClose={close}
        />
      )}
    </>
  );
}
