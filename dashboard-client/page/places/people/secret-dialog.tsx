import { type ReactNode, useId, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";

interface SecretDialogProps {
  title: string;
  secret: string;
  onClose: () => void;
}

/** Shows a new secret. The server cannot show it again, because it keeps only a hash. */
export function SecretDialog({ title, secret, onClose }: SecretDialogProps): ReactNode {
  const id = useId();
  const [copied, setCopied] = useState<boolean>();
  const copy = (): void => {
    // Without HTTPS, browsers offer no clipboard.
    Promise.resolve(navigator.clipboard?.writeText(secret))
      .then(() => setCopied(navigator.clipboard !== undefined))
      .catch(() => setCopied(false));
  };
  return (
    <Dialog title={title} description={t("people.secretOnce")} onClose={onClose} wide>
      <div className="field">
        <label htmlFor={id}>{t("people.secret")}</label>
        <input
          id={id}
          data-testid="secret"
          className="people-secret"
          readOnly
          translate="no"
          value={secret}
          onFocus={(event) => event.target.select()}
        />
      </div>
      <p className="field-note" role="status">
        {copied === undefined ? "" : copied ? t("people.copied") : t("people.notCopied")}
      </p>
      <div className="dialog-actions">
        <button type="button" className="button" onClick={copy}>
          {t("people.copy")}
        </button>
        <button type="button" className="button primary" onClick={onClose}>
          {t("people.secretKept")}
        </button>
      </div>
    </Dialog>
  );
}
