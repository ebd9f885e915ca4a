import type { ReactNode } from "react";
import { ROLES } from "../../../../contract/permissions.ts";
import { t } from "../../text/i18n.ts";
import { Choice } from "../../ui/choice.tsx";
import { TextField } from "../../ui/text-field.tsx";

/** `operator` is no role of the server: it stands for the permissions of a viewer, and the control of all cameras. */
const LEVELS = ["viewer", "operator", "admin", "custom"] as const;
type Level = (typeof LEVELS)[number];

const OPERATOR: readonly string[] = [...ROLES.viewer, "camera:control"];

export interface Powers {
  level: Level;
  /** The permissions of the level `custom`, separated by blanks. */
  custom: string;
}

export const VIEWER: Powers = { level: "viewer", custom: "" };

export function powersOf({ role, permissions }: { role?: string | undefined; permissions: readonly string[] }): Powers {
  const custom = permissions.join(" ");
  if (role === "viewer" || role === "admin") return { level: role, custom };
  const isOperator = permissions.length === OPERATOR.length && OPERATOR.every((each) => permissions.includes(each));
  return { level: isOperator ? "operator" : "custom", custom };
}

/** As a request names it. */
export function requestOf({ level, custom }: Powers): { role: string } | { permissions: readonly string[] } {
  if (level === "viewer" || level === "admin") return { role: level };
  return { permissions: level === "operator" ? OPERATOR : custom.split(/\s+/).filter((word) => word !== "") };
}

export function levelName(powers: { role?: string | undefined; permissions: readonly string[] }): string {
  return t(`people.level.${powersOf(powers).level}`);
}

interface PowersFieldsProps {
  value: Powers;
  onChange: (value: Powers) => void;
}

export function PowersFields({ value, onChange }: PowersFieldsProps): ReactNode {
  return (
    <>
      <Choice
        label={t("people.mayDo")}
        value={value.level}
        options={LEVELS.map((level) => [level, t(`people.levelHint.${level}`)] as const)}
        onChange={(level) => onChange({ ...value, level })}
      />
      {value.level === "custom" && (
        <TextField
          label={t("people.permissions")}
          hint={t("people.permissionsHint")}
          value={value.custom}
          spellCheck={false}
          autoCapitalize="none"
          translate="no"
          required
          onChange={(event) => onChange({ ...value, custom: event.target.value })}
        />
      )}
    </>
  );
}
