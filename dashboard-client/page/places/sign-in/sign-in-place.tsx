import { type ReactNode, useState } from "react";
import { isFlag, list, object, oneOf, optional, text } from "../../../../contract/guards.ts";
import { SETUP_NEEDS, type SetupNeed } from "../../../../contract/setup.ts";
import { Icon } from "../../components/icon.tsx";
import { signInFailure } from "../../provider-sign-in.ts";
import { useServices } from "../../services.tsx";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t, textOf } from "../../text/i18n.ts";
import { FirstAdminForm, type RunSignIn } from "../first-run/first-admin-form.tsx";
import { ProxyProblems } from "../first-run/proxy-problems.tsx";
import { useOpenRequest } from "./open-request.ts";
import { PasswordForm } from "./password-form.tsx";
import { ProviderButton } from "./provider-button.tsx";
import { refusalText } from "./refusal-text.ts";

const isMethods = object<{ password: boolean; oidc?: { name: string } }>({
  password: isFlag,
  oidc: optional(object<{ name: string }>({ name: text() })),
});
const isSetup = object<{ needs: SetupNeed[]; has_accounts: boolean }>({
  needs: list(oneOf(...SETUP_NEEDS), SETUP_NEEDS.length),
  has_accounts: isFlag,
});

interface SignInPlaceProps {
  /** An admin has ended the session. */
  revoked: boolean;
  /** @param before the user who was signed in before */
  onSignedIn: (before: string | undefined) => void;
}

/** Asks who the user is, or for the first admin of a new server. */
export default function SignInPlace({ revoked, onSignedIn }: SignInPlaceProps): ReactNode {
  const { access, base } = useServices();
  const methods = useOpenRequest(`${base}auth/methods`, isMethods);
  const setup = useOpenRequest(`${base}setup`, isSetup);
  const [choice, setChoice] = useState<"set up" | "sign in">();
  const lacksAdmin = setup.value?.needs.includes("admin") === true;
  const isNew = lacksAdmin && (choice ?? (setup.value?.has_accounts === true ? "sign in" : "set up")) === "set up";
  usePlaceTitle(t(isNew ? "firstRun.title" : "signIn.title"));

  const run: RunSignIn = async (work, refusal) => {
    const before = access.userId;
    await work().catch((problem: unknown) => {
      throw new Error(refusalText(problem, 401, refusal));
    });
    onSignedIn(before);
  };

  if (methods.value === undefined && !methods.failed) return <p className="place-loading">{t("common.loading")}</p>;
  const { oidc, password = true } = methods.value ?? {};
  const failure = signInFailure();
  return (
    <main className="sign-in-page" id="content" tabIndex={-1}>
      <ProxyProblems onlyBlocking={!isNew} />
      <section className="sign-in" data-testid="sign-in" data-new={isNew}>
        <span className="sign-in-icon">
          <Icon name="key" />
        </span>
        {isNew ? (
          <FirstAdminForm run={run} onHasAccount={() => setChoice("sign in")} />
        ) : (
          <>
            <h1>{t("signIn.title")}</h1>
            <p>
              {t(revoked ? "signIn.revoked" : access.userId === undefined ? "shell.mustSignIn" : "shell.sessionEnded")}
            </p>
            {failure !== undefined && (
              <p className="sign-in-error" role="alert">
                {textOf("signIn.reason", failure) ?? t("signIn.reason.failed")}
              </p>
            )}
            {oidc !== undefined && <ProviderButton name={oidc.name} />}
            {oidc !== undefined && password && <p className="sign-in-or">{t("signIn.or")}</p>}
            {(password || oidc === undefined) && (
              <PasswordForm
                userId={access.userId}
                isMain={oidc === undefined}
                onSubmit={(userId, secret) => run(() => access.signIn(userId, secret), t("signIn.wrong"))}
              />
            )}
            {lacksAdmin && (
              <button type="button" className="text-button" onClick={() => setChoice("set up")}>
                {t("signIn.setUp")}
              </button>
            )}
          </>
        )}
      </section>
    </main>
  );
}
