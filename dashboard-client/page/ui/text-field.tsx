import { type ComponentProps, type ReactNode, useId } from "react";

interface TextFieldProps extends ComponentProps<"input"> {
  label: string;
  /** A sentence below the field. */
  hint?: string;
  /** What is wrong with the value. */
  problem?: string | undefined;
}

export function TextField({ label, hint, problem, ...input }: TextFieldProps): ReactNode {
  const id = useId();
  const note = problem ?? hint;
  return (
    <div className="field" data-invalid={problem !== undefined}>
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        aria-invalid={problem !== undefined}
        aria-describedby={note === undefined ? undefined : `${id}-note`}
        {...input}
      />
      {note !== undefined && (
        <p id={`${id}-note`} className="field-note">
          {note}
        </p>
      )}
    </div>
  );
}
