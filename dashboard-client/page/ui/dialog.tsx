import { Dialog as Base } from "@base-ui/react/dialog";
import type { ReactNode } from "react";
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
