import type { ReactNode } from "react";
import { t } from "../../text/i18n.ts";

interface RecordsProps<Item> {
  title: string;
  /** One sentence below the title. */
  hint: string;
  /** Undefined while the list is loading, or if it could not be loaded. */
  items: readonly Item[] | undefined;
  error: Error | null;
  onRetry: () => void;
  none: string;
  /** Buttons beside the title. */
  actions: ReactNode;
  children: (item: Item) => ReactNode;
}

/** A list of accounts, integrations or devices. */
export function Records<Item>(props: RecordsProps<Item>): ReactNode {
  const { title, hint, items, error, onRetry, none, actions, children } = props;
  return (
    <section className="panel" aria-label={title}>
      <div className="panel-head">
        <h2>{title}</h2>
        {actions}
      </div>
      <p className="field-note">{hint}</p>
      {error !== null && items === undefined && (
        <div className="history-problem" role="alert">
          <p>{t("common.loadingFailed", { reason: error.message })}</p>
          <button type="button" className="button" onClick={onRetry}>
            {t("common.retry")}
          </button>
        </div>
      )}
      {error === null && items === undefined && <p className="history-note">{t("common.loading")}</p>}
      {items?.length === 0 && <p className="history-note">{none}</p>}
      <ul className="records">{items?.map(children)}</ul>
    </section>
  );
}

interface RecordProps {
  testId: string;
  title: string;
  /** Short words behind the title, such as a role. */
  tags?: readonly string[];
  children: ReactNode;
  actions: ReactNode;
}

export function RecordItem({ testId, title, tags = [], children, actions }: RecordProps): ReactNode {
  return (
    <li className="records-item" data-testid={testId}>
      <div className="records-words">
        <p className="records-title">
          <span translate="no">{title}</span>
          {tags.map((tag) => (
            <span key={tag} className="tag">
              {tag}
            </span>
          ))}
        </p>
        <div className="alerts-about">{children}</div>
      </div>
      <div className="records-actions">{actions}</div>
    </li>
  );
}

interface ActionProps {
  name: string;
  /** Names the record, for screen readers: every row has the same buttons. */
  of: string;
  onClick: () => void;
  danger?: boolean;
  /** Why the action is not possible. */
  forbidden?: string | undefined;
}

export function RecordAction({ name, of: record, onClick, danger = false, forbidden }: ActionProps): ReactNode {
  return (
    <button
      type="button"
      className={danger ? "button small danger" : "button small"}
      aria-label={`${name}: ${record}`}
      disabled={forbidden !== undefined}
      title={forbidden}
      onClick={onClick}
    >
      {name}
    </button>
  );
}
