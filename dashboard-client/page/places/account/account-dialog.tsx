import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { checked, isFlag, object, optional } from "../../../../contract/guards.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { SessionList } from "../people/session-list.tsx";
import { PasswordChange } from "./password-change.tsx";

const isMe = object<{ has_password?: boolean }>({ has_password: optional(isFlag) });

interface AccountDialogProps {
  userId: string;
  /** The page has a new session, and its connection ends. */
  onPasswordChanged: () => void;
  onSignOut: () => void;
  onClose: () => void;
}

/** The user's own sessions and password. */
export default function AccountDialog({
  userId,
  onPasswordChanged,
  onSignOut,
  onClose,
}: AccountDialogProps): ReactNode {
  const { api } = useServices();
  const { data: me } = useQuery({
    queryKey: ["auth/me"],
    queryFn: async ({ signal }) => checked(isMe, await api.request("auth/me", { signal })),
  });
  return (
    <Dialog title={t("account.title")} description={t("shell.signedInAs", { user: userId })} onClose={onClose} wide>
      <section className="account-part">
        <h3>{t("account.sessions")}</h3>
        <p>{t("account.sessionsHint")}</p>
        <SessionList userId={userId} onSignOut={onSignOut} />
      </section>
      <section className="account-part">
        <h3>{t("account.password")}</h3>
        {me?.has_password === true && <PasswordChange userId={userId} onChanged={onPasswordChanged} />}
        {me?.has_password === false && <p>{t("account.provided")}</p>}
      </section>
    </Dialog>
  );
}
