import { type ReactNode, useState } from "react";
import { t } from "../text/i18n.ts";
import { Icon, type IconName } from "./icon.tsx";

interface RowProps {
  className?: string;
  testId: string;
  tone: string;
  icon: IconName;
  title: string;
  detail: ReactNode;
  /** The time of the row, RFC 3339. */
  at: string;
  time: string;
}

export function Row({ className = "row", testId, tone, icon, title, detail, at, time }: RowProps): ReactNode {
  return (
    <li className={className} data-testid={testId} data-tone={tone}>
      <span className="row-icon">
        <Icon name={icon} />
      </span>
      <p className="row-title">{title}</p>
      <p className="row-detail">{detail}</p>
      <time className="row-time" dateTime={at}>
        {time}
      </time>
    </li>
  );
}

/** The first items of a list, and a button that shows all items. */
export function useFirst<Item>(items: readonly Item[], count: number): [shown: readonly Item[], button: ReactNode] {
  const [all, setAll] = useState(false);
  const hidden = items.length - count;
  const button = hidden > 0 && (
    <button type="button" className="text-button" aria-expanded={all} onClick={() => setAll(!all)}>
      {all ? t("common.fewer") : t("common.moreCount", { count: hidden })}
    </button>
  );
  return [all ? items : items.slice(0, count), button];
}
