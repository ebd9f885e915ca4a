import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";
import { useSubmit } from "./use-submit.ts";

interface PasswordFormProps {
  /** The user who signed in last. */
  userId: string | undefined;
  /** Whether this is the only way to sign in. */
  isMain: boolean;
  /** Rejects with a message for the user. */
  onSubmit: (userId: string, password: string) => Promise<void>;
}

export function PasswordForm({ userId, isMain, onSubmit }: PasswordFormProps): ReactNode {
  const { busy, problem, submit } = useSubmit((form) => onSubmit(form("user").trim(), form("password")));
  return (
    <form className="form" onSubmit={submit}>
      <TextField
        label={t("signIn.user")}
        name="user"
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        required
        defaultValue={userId?.startsWith("idp:") === true ? "" : userId}
      />
      <TextField
        label={t("signIn.password")}
        name="password"
        type="password"
        autoComplete="current-password"
        required
        aria-invalid={problem !== undefined}
      />
      {problem !== undefined && (
        <p className="sign-in-error" role="alert">
          {problem}
        </p>
      )}
      <button type="submit" className={isMain ? "button primary" : "button"} disabled={busy}>
        {t(busy ? "signIn.busy" : "signIn.submit")}
      </button>
    </form>
  );
}
