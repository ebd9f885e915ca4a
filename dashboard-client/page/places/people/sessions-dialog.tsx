import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { SessionList } from "./session-list.tsx";

export function SessionsDialog({ userId, onClose }: { userId: string; onClose: () => void }): ReactNode {
  return (
    <Dialog
      title={t("people.sessionsOf", { user: userId })}
      description={t("people.sessionsHint")}
      onClose={onClose}
      wide
    >
      <SessionList userId={userId} />
    </Dialog>
  );
}
