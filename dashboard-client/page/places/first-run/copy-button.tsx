import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";

/** Copies a text. Over plain HTTP, browsers offer no clipboard, and there is no button. */
export function CopyButton({ text }: { text: string }): ReactNode {
  const [copied, setCopied] = useState<string>();
  if (!("clipboard" in navigator)) return null;
  const copy = (): void => void navigator.clipboard.writeText(text).then(() => setCopied(text));
  return (
    <button type="button" className="button" onClick={copy}>
      {t(copied === text ? "firstRun.copied" : "firstRun.copy")}
    </button>
  );
}
