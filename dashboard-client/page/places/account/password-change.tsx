import { useQueryClient } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";
import { useForm } from "../../ui/use-form.ts";
import { MIN_PASSWORD_LENGTH } from "../people/account-dialog.tsx";
import { refusalText } from "../sign-in/refusal-text.ts";

interface PasswordChangeProps {
  userId: string;
  onChanged: () => void;
}

export function PasswordChange({ userId, onChanged }: PasswordChangeProps): ReactNode {
  const { access } = useServices();
  const queries = useQueryClient();
  const [current, setCurrent] = useState("");
  const [password, setPassword] = useState("");
  const [isDone, setDone] = useState(false);
  const send = async (): Promise<void> => {
    setDone(false);
    await access.changePassword(current, password).catch((problem: unknown) => {
      throw new Error(refusalText(problem, 403, t("account.wrongPassword")));
    });
  };
  const { busy, problem, onSubmit } = useForm(send, () => {
    setCurrent("");
    setPassword("");
    setDone(true);
    onChanged();
    void queries.invalidateQueries();
  });
  return (
    <form className="form" onSubmit={onSubmit}>
      {/* For password managers. */}
      <input type="text" autoComplete="username" value={userId} readOnly hidden />
      <TextField
        label={t("account.current")}
        type="password"
        value={current}
        required
        autoComplete="current-password"
        onChange={(event) => setCurrent(event.target.value)}
      />
      <TextField
        label={t("people.newPassword")}
        hint={t("account.newHint", { count: MIN_PASSWORD_LENGTH })}
        type="password"
        value={password}
        required
        minLength={MIN_PASSWORD_LENGTH}
        autoComplete="new-password"
        onChange={(event) => setPassword(event.target.value)}
      />
      {problem !== undefined && (
        <p className="form-problem" role="alert">
          {problem}
        </p>
      )}
      <p role="status">{isDone && t("account.changed")}</p>
      <div className="dialog-actions">
        <button type="submit" className="button primary" disabled={busy}>
          {t("account.change")}
        </button>
      </div>
    </form>
  );
}
