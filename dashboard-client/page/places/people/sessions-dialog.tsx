import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { When } from "../../ui/when.tsx";
import { type Session, useChange, useSessions } from "./people-api.ts";

/** Where a user is logged in. */
export function SessionsDialog({ userId, onClose }: { userId: string; onClose: () => void }): ReactNode {
  const { data, error } = useSessions(userId);
  const path = `users/${encodeURIComponent(userId)}/sessions`;
  const change = useChange(path);
  const [asked, setAsked] = useState<string>();
  const end = (id: string): void => {
    change.mutate({ method: "DELETE", path: `${path}/${id}` });
    setAsked(undefined);
  };
  const problem = change.error ?? error;
  return (
    <Dialog
      title={t("people.sessionsOf", { user: userId })}
      description={t("people.sessionsHint")}
      onClose={onClose}
      wide
    >
      {problem !== null && (
        <p className="form-problem" role="alert">
          {problem.message}
        </p>
      )}
      {data === undefined && error === null && <p>{t("common.loading")}</p>}
      {data?.sessions.length === 0 && <p>{t("people.noSessions")}</p>}
      <ul className="records">
        {data?.sessions.map((session) => (
          <li key={session.session_id} className="records-item" data-testid="session">
            <SessionWords session={session} />
            <div className="records-actions">
              {asked === session.session_id ? (
                <>
                  <span>{t("people.endSessionWhat")}</span>
                  <button type="button" className="button small" onClick={() => setAsked(undefined)}>
                    {t("common.cancel")}
                  </button>
                  <button type="button" className="button small danger" onClick={() => end(session.session_id)}>
                    {t("people.endSessionNow")}
                  </button>
                </>
              ) : (
                <button type="button" className="button small danger" onClick={() => setAsked(session.session_id)}>
                  {t("people.endSession")}
                </button>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function SessionWords({ session }: { session: Session }): ReactNode {
  const { opened_at, used_at, address, user_agent, current } = session;
  return (
    <div className="records-words">
      <p className="records-title">
        <span translate="no">{user_agent ?? t("people.unknownBrowser")}</span>
        {current && <span className="tag">{t("people.thisSession")}</span>}
      </p>
      <div className="alerts-about">
        {address !== undefined && <span translate="no">{address}</span>}
        <span>{t("people.openedAt")}</span>
        <When at={opened_at} form="minute" />
        <span>{t("people.usedAt")}</span>
        <When at={used_at} form="age" />
      </div>
    </div>
  );
}
