import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { FormDialog } from "../../ui/form-dialog.tsx";
import { TextField } from "../../ui/text-field.tsx";
import { type Account, type CameraGroup, useChange } from "./people-api.ts";
import { PowersFields, powersOf, requestOf, VIEWER } from "./powers-fields.tsx";

export const MIN_PASSWORD_LENGTH = 10;

interface AccountDialogProps {
  /** Undefined: a new account. */
  account?: Account;
  groups: readonly CameraGroup[];
  onClose: () => void;
}

export function AccountDialog({ account, groups, onClose }: AccountDialogProps): ReactNode {
  const change = useChange("users");
  const [userId, setUserId] = useState("");
  const [password, setPassword] = useState("");
  const [powers, setPowers] = useState(account === undefined ? VIEWER : powersOf(account));
  const [limit, setLimit] = useState<readonly string[]>(account?.camera_groups ?? []);
  const isAdmin = powers.level === "admin";
  const chosen = isAdmin ? [] : limit;

  const send = (): Promise<unknown> => {
    const rights = requestOf(powers);
    if (account === undefined) {
      const groupsOf = chosen.length === 0 ? {} : { camera_groups: chosen };
      return change.mutateAsync({
        method: "POST",
        path: "users",
        body: { user_id: userId, password, ...rights, ...groupsOf },
      });
    }
    const body = {
      ...rights,
      camera_groups: chosen.length === 0 ? null : chosen,
      ...(password === "" ? {} : { password }),
    };
    return change.mutateAsync({ method: "PUT", path: `users/${encodeURIComponent(account.user_id)}`, body });
  };

  const toggle = (id: string): void =>
    setLimit(limit.includes(id) ? limit.filter((other) => other !== id) : [...limit, id]);

  return (
    <FormDialog
      title={account === undefined ? t("people.newAccount") : t("people.editTitle", { user: account.user_id })}
      action={account === undefined ? t("people.addAccount") : t("common.save")}
      onSend={send}
      onClose={onClose}
    >
      {account === undefined && (
        <TextField
          label={t("people.userId")}
          value={userId}
          required
          maxLength={128}
          autoComplete="off"
          autoCapitalize="none"
          onChange={(event) => setUserId(event.target.value)}
        />
      )}
      <TextField
        label={account === undefined ? t("people.password") : t("people.newPassword")}
        hint={t(account === undefined ? "people.passwordHint" : "people.newPasswordHint", {
          count: MIN_PASSWORD_LENGTH,
        })}
        type="password"
        value={password}
        required={account === undefined}
        minLength={MIN_PASSWORD_LENGTH}
        autoComplete="new-password"
        onChange={(event) => setPassword(event.target.value)}
      />
      <PowersFields value={powers} onChange={setPowers} />
      <fieldset className="people-groups" disabled={isAdmin}>
        <legend>{t("people.groups")}</legend>
        <p className="field-note">
          {isAdmin ? t("people.adminSeesAll") : groups.length === 0 ? t("people.noGroups") : t("people.groupsHint")}
        </p>
        {groups.map(({ id, name }) => (
          <label key={id}>
            <input type="checkbox" checked={chosen.includes(id)} onChange={() => toggle(id)} />
            <span>{name}</span>
          </label>
        ))}
      </fieldset>
    </FormDialog>
  );
}
