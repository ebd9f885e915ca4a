import { type ReactNode, useState } from "react";
import { deviceName } from "../../text/device-name.ts";
import { t } from "../../text/i18n.ts";
import { When } from "../../ui/when.tsx";
import { type Session, useChange, useSessions } from "./people-api.ts";

interface SessionListProps {
  userId: string;
  /** For the user's own list: ends the session of this browser. Another button then ends all others. */
  onSignOut?: () => void;
}

/** Where a user is logged in. */
export function SessionList({ userId, onSignOut }: SessionListProps): ReactNode {
  const { data, error } = useSessions(userId);
  const path = `users/${encodeURIComponent(userId)}/sessions`;
  const change = useChange(path);
  /** The id of the session, or the path of all other sessions, whose end the user must confirm. */
  const [asked, setAsked] = useState<string>();
  const end = (target: string): void => {
    change.mutate({ method: "DELETE", path: target });
    setAsked(undefined);
  };
  const problem = change.error ?? error;
  const others = data?.sessions.filter(({ current }) => !current) ?? [];
  return (
    <>
      {problem !== null && (
        <p className="form-problem" role="alert">
          {problem.message}
        </p>
      )}
      {data === undefined && error === null && <p>{t("common.loading")}</p>}
      {data?.sessions.length === 0 && <p>{t("people.noSessions")}</p>}
      <ul className="records">
        {data?.sessions.map((session) => {
          const target = `${path}/${session.session_id}`;
          return (
            <li key={session.session_id} className="records-item" data-testid="session">
              <SessionWords session={session} />
              <div className="records-actions">
                {session.current && onSignOut !== undefined ? (
                  <button type="button" className="button small" onClick={onSignOut}>
                    {t("shell.signOut")}
                  </button>
                ) : (
                  <EndButton
                    name={t("people.endSession")}
                    what={t("people.endSessionWhat")}
                    isAsked={asked === target}
                    onAsk={(isAsked) => setAsked(isAsked ? target : undefined)}
                    onEnd={() => end(target)}
                  />
                )}
              </div>
            </li>
          );
        })}
      </ul>
      {onSignOut !== undefined && others.length > 1 && (
        <div className="records-actions">
          <EndButton
            name={t("people.endOthers")}
            what={t("people.endOthersWhat", { count: others.length })}
            isAsked={asked === path}
            onAsk={(isAsked) => setAsked(isAsked ? path : undefined)}
            onEnd={() => end(path)}
          />
        </div>
      )}
    </>
  );
}

interface EndButtonProps {
  name: string;
  /** What will happen. */
  what: string;
  isAsked: boolean;
  onAsk: (isAsked: boolean) => void;
  onEnd: () => void;
}

/** Asks before it ends something. */
function EndButton({ name, what, isAsked, onAsk, onEnd }: EndButtonProps): ReactNode {
  if (!isAsked)
    return (
      <button type="button" className="button small danger" onClick={() => onAsk(true)}>
        {name}
      </button>
    );
  return (
    <>
      <span>{what}</span>
      <button type="button" className="button small" onClick={() => onAsk(false)}>
        {t("common.cancel")}
      </button>
      <button type="button" className="button small danger" onClick={onEnd}>
        {t("people.endSessionNow")}
      </button>
    </>
  );
}

function SessionWords({ session }: { session: Session }): ReactNode {
  const { opened_at, used_at, address, user_agent, current } = session;
  return (
    <div className="records-words">
      <p className="records-title">
        <span translate="no" title={user_agent}>
          {deviceName(user_agent)}
        </span>
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
