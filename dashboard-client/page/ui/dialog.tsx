import { Dialog as Base } from "@base-ui/react/dialog";
import { type ReactNode, useState } from "react";
import { t } from "../text/i18n.ts";

interface DialogProps {
  title: string;
  /** One sentence below the title. */
  description?: ReactNode;
  onClose: () => void;
  children: ReactNode;
  /** For forms with two columns, and tables. */
  wide?: boolean;
}

/** A modal dialog: it keeps the focus, Escape and a click beside it close it. Render it only while it is open. */
export function Dialog({ title, description, onClose, children, wide = false }: DialogProps): ReactNode {
  return (
    <Base.Root open onOpenChange={(open) => !open && onClose()}>
      <Base.Portal>
        <Base.Backdrop className="dialog-backdrop" />
        <Base.Popup className="dialog" data-wide={wide}>
          <Base.Title className="dialog-title">{title}</Base.Title>
          {description !== undefined && <Base.Description className="dialog-text">{description}</Base.Description>}
          {children}
          <Base.Close className="icon-button dialog-close" aria-label={t("common.close")}>
            ×
          </Base.Close>
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

interface ConfirmProps {
  title: string;
  /** What will happen. */
  description: ReactNode;
  /** The name of the action, such as "Remove the camera". */
  action: string;
  /** Rejects with a message for the user, which the dialog shows. */
  onConfirm: () => Promise<unknown>;
  onClose: () => void;
}

/** Asks before an action that cannot be undone. */
export function ConfirmDialog({ title, description, action, onConfirm, onClose }: ConfirmProps): ReactNode {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const confirm = (): void => {
    setBusy(true);
    onConfirm().then(onClose, (error: unknown) => {
      setBusy(false);
      setProblem(error instanceof Error ? error.message : String(error));
    });
  };
  return (
    <Dialog title={title} description={description} onClose={onClose}>
      {problem !== undefined && (
        <p className="form-problem" role="alert">
          {problem}
        </p>
      )}
      <div className="dialog-actions">
        <button type="button" className="button" onClick={onClose}>
          {t("common.cancel")}
        </button>
        <button type="button" className="button danger" disabled={busy} onClick={confirm}>
          {action}
        </button>
      </div>
    </Dialog>
  );
}
