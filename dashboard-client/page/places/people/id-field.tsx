import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";
import { TextField } from "../../ui/text-field.tsx";

/** The id of a new integration or device. */
export function IdField({ value, onChange }: { value: string; onChange: (value: string) => void }): ReactNode {
  return (
    <TextField
      label={t("people.id")}
      hint={t("people.idHint")}
      value={value}
      required
      maxLength={63}
      pattern="[a-z0-9][a-z0-9\-]*"
      spellCheck={false}
      autoComplete="off"
      autoCapitalize="none"
      onChange={(event) => onChange(event.target.value)}
    />
  );
}
