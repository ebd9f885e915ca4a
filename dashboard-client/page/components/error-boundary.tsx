import { Component, type ReactNode } from "react";
import { t } from "../text/i18n.ts";

interface ErrorBoundaryProps {
  part: string;
  children: ReactNode;
  onError?: () => void;
}

const RETRY_MS = 2000;
/** The most attempts. After that, only a reload of the page helps. */
const MAX_RETRIES = 3;

/**
 * Without a boundary, React removes the whole page if one part cannot be rendered. A part fails, for example, after a
 * translator or a browser extension has changed the nodes that React manages.
 */
export class ErrorBoundary extends Component<ErrorBoundaryProps, { failed: boolean }> {
  override state = { failed: false };
  #retries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override componentDidCatch(error: unknown): void {
    console.error(`skylapse: ${this.props.part} could not be rendered`, error);
    this.props.onError?.();
    if (this.#retries >= MAX_RETRIES) return;
    this.#retries++;
    this.#timer = setTimeout(() => this.setState({ failed: false }), RETRY_MS);
  }

  override componentWillUnmount(): void {
    clearTimeout(this.#timer);
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <section className="panel failed-part" role="alert" data-testid="failed-part">
        <p className="row-title">{t("shell.partFailed", { part: this.props.part })}</p>
        <button type="button" className="button" onClick={() => location.reload()}>
          {t("common.reload")}
        </button>
      </section>
    );
  }
}
