import type { ReactNode } from "react";
import { navigate } from "../../hash-location.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";
import { useSubmit } from "../sign-in/use-submit.ts";

/** The server refuses shorter passwords. */
const MIN_PASSWORD_LENGTH = 10;

/** @param refusal the message when the server refuses the proof. Rejects with a message for the user. */
export type RunSignIn = (work: () => Promise<void>, refusal: string) => Promise<void>;

interface FirstAdminFormProps {
  run: RunSignIn;
  onHasAccount: () => void;
}

/** Adds the first admin of a new server. */
export function FirstAdminForm({ run, onHasAccount }: FirstAdminFormProps): ReactNode {
  const { access } = useServices();
  const { busy, problem, submit } = useSubmit((field) =>
    run(async () => {
      await access.addFirstAdmin(field("code").trim(), field("user").trim(), field("password"));
      navigate("/first-run", { replace: true });
    }, t("firstRun.wrongCode")),
  );
  return (
    <>
      <h1>{t("firstRun.title")}</h1>
      <p>{t("firstRun.intro")}</p>
      <form className="form" onSubmit={submit}>
        <TextField
          label={t("firstRun.code")}
          hint={t("firstRun.codeHint")}
          name="code"
          autoComplete="one-time-code"
          autoCapitalize="characters"
          spellCheck={false}
          required
        />
        <TextField
          label={t("signIn.user")}
          name="user"
          autoComplete="username"
          autoCapitalize="none"
          spellCheck={false}
          required
        />
        <TextField
          label={t("signIn.password")}
          hint={t("firstRun.passwordHint", { count: MIN_PASSWORD_LENGTH })}
          name="password"
          type="password"
          autoComplete="new-password"
          minLength={MIN_PASSWORD_LENGTH}
          required
        />
        {problem !== undefined && (
          <p className="sign-in-error" role="alert">
            {problem}
          </p>
        )}
        <button type="submit" className="button primary" disabled={busy}>
          {t(busy ? "signIn.busy" : "firstRun.addAdmin")}
        </button>
      </form>
      <button type="button" className="text-button" onClick={onHasAccount}>
        {t("firstRun.hasAccount")}
      </button>
    </>
  );
}
