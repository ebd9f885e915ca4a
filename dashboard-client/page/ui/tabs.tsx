import { Tabs as Base } from "@base-ui/react/tabs";
import { type ReactNode, useEffect, useRef } from "react";

interface TabsProps<Name extends string> {
  /** For screen readers. */
  label: string;
  value: Name;
  onChange: (value: Name) => void;
  tabs: ReadonlyArray<{ name: Name; title: string; content: ReactNode }>;
}

/** Tabs with arrow keys. Only the content of the chosen tab is rendered. Keep the chosen tab in the address. */
export function Tabs<Name extends string>({ label, value, onChange, tabs }: TabsProps<Name>): ReactNode {
  const chosen = useRef<HTMLElement>(null);
  // On a phone, the list is wider than the screen.
  // biome-ignore lint/correctness/useExhaustiveDependencies: another tab is chosen.
  useEffect(() => chosen.current?.scrollIntoView({ block: "nearest", inline: "nearest" }), [value]);
  return (
    <Base.Root value={value} onValueChange={(next: Name) => onChange(next)} className="tabs">
      <Base.List className="tab-list" aria-label={label}>
        {tabs.map(({ name, title }) => (
          <Base.Tab key={name} value={name} className="tab" ref={name === value ? chosen : undefined}>
            {title}
          </Base.Tab>
        ))}
      </Base.List>
      {tabs.map(({ name, content }) => (
        <Base.Panel key={name} value={name} className="tab-panel">
          {content}
        </Base.Panel>
      ))}
    </Base.Root>
  );
}
