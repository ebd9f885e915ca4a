import { type ReactNode, useSyncExternalStore } from "react";
import { t } from "../text/i18n.ts";
import { acceptUpdate, hasUpdate, watchUpdates } from "./updates.ts";

/** Offers a new build of the page. Nothing changes until the user accepts it. */
export function UpdateOffer(): ReactNode {
  if (!useSyncExternalStore(watchUpdates, hasUpdate)) return null;
  return (
    <div className="banner update-offer" data-testid="update-offer" role="status">
      <div className="banner-words">
        <strong>{t("offline.updateReady")}</strong>
      </div>
      <button type="button" className="button" onClick={acceptUpdate}>
        {t("offline.update")}
      </button>
    </div>
  );
}
