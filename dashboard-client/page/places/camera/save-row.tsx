import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";

interface SaveRowProps {
  /** The name of the button that sends the form. */
  action: string;
  save: { isPending: boolean; error: Error | null };
  /** Why the form cannot be saved now. Undefined: it can. */
  why: string | undefined;
  /** The id of the text that says why. */
  whyId: string;
  /** Takes back all changes. Undefined: there are none, or the form has no such button. */
  onDiscard?: (() => void) | undefined;
  /** Says that the server has accepted the form. Default false: the form shows it in another way. */
  isSaved?: boolean;
}

/** The last row of a form about a camera: save, discard, why the button is off, and what the server refused. */
export function SaveRow({ action, save, why, whyId, onDiscard, isSaved = false }: SaveRowProps): ReactNode {
  return (
    <>
      <div className="button-row">
        <button
          type="submit"
          className="button primary"
          disabled={why !== undefined || save.isPending}
          aria-describedby={whyId}
        >
          {action}
        </button>
        {onDiscard !== undefined && (
          <button type="button" className="button" onClick={onDiscard}>
            {t("manage.discard")}
          </button>
        )}
        <span id={whyId} className="field-note" data-testid="why-not">
          {why}
        </span>
      </div>
      <output className="save-outcome" aria-live="polite">
        {save.error !== null && <span className="form-problem">{save.error.message}</span>}
        {isSaved && <span>{t("manage.saved")}</span>}
      </output>
    </>
  );
}
