import type { ReactNode } from "react";

interface FactProps {
  name: string;
  children: ReactNode;
  /** What the value means. */
  note?: string | undefined;
  tone?: "good" | "warn" | "bad" | undefined;
}

/** One named value of the system, in a `<dl>`. */
export function Fact({ name, children, note, tone }: FactProps): ReactNode {
  return (
    <div className="system-fact" data-tone={tone}>
      <dt>{name}</dt>
      <dd>
        <span className="system-value">{children}</span>
        {note !== undefined && <span className="field-note">{note}</span>}
      </dd>
    </div>
  );
}
