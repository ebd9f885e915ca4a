import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { useForm } from "./use-form.ts";

interface FormDialogProps<Result> {
  title: string;
  description?: string;
  /** The name of the button that sends the form. */
  action: string;
  /** Rejects with a message for the user. */
  onSend: () => Promise<Result>;
  /** The server has accepted the form. Default: closes the dialog. */
  onDone?: (result: Result) => void;
  onClose: () => void;
  children: ReactNode;
}

/** A form in a dialog. */
export function FormDialog<Result>(props: FormDialogProps<Result>): ReactNode {
  const { title, description, action, onSend, onClose, onDone = onClose, children } = props;
  const { busy, problem, onSubmit } = useForm(onSend, onDone);
  return (
    <Dialog title={title} onClose={onClose} {...(description === undefined ? {} : { description })}>
      <form className="form" onSubmit={onSubmit}>
        {children}
        {problem !== undefined && (
          <p className="form-problem" role="alert">
            {problem}
          </p>
        )}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>
            {t("common.cancel")}
          </button>
          <button type="submit" className="button primary" disabled={busy}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
