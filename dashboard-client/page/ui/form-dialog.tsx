import type { ReactNode } from "react";
import { t } from "../text/i18n.ts";
import { Dialog } from "./dialog.tsx";
import { useForm } from "./use-form.ts";

interface FormDialogProps<Result> {
  title: string;
  description?: ReactNode;
  /** The name of the button that sends the form. */
  action: string;
  /** Rejects with a message for the user. */
  onSend: () => Promise<Result>;
  /** The server has accepted the form. Default: closes the dialog. */
  onDone?: (result: Result) => void;
  onClose: () => void;
  /** The action cannot be undone. Default: false. */
  isDangerous?: boolean;
  /** Default: the form has no fields, and only asks. */
  children?: ReactNode;
}

/** A form in a dialog. */
export function FormDialog<Result>(props: FormDialogProps<Result>): ReactNode {
  const { title, description, action, onSend, onClose, onDone = onClose, isDangerous = false, children } = props;
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
          <button type="submit" className={isDangerous ? "button danger" : "button primary"} disabled={busy}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
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
export function ConfirmDialog({ onConfirm, ...props }: ConfirmProps): ReactNode {
  return <FormDialog {...props} onSend={onConfirm} isDangerous />;
}
