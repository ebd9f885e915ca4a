import { Component, type ReactNode } from "react";

export interface ErrorBoundaryProps {
  /** What the part is called, for a person to read. */
  part: string;
  children: ReactNode;
  onError?: () => void;
}

/** How soon a part that failed is drawn anew, milliseconds. */
const RETRY_MS = 2000;
/** How often, before only a reload of the page brings it back. */
const MAX_RETRIES = 3;

/**
 * Keeps the rest of the page when one part of it cannot be drawn. React takes everything down without it: a page that
 * a translator or an extension has changed under its hands would be blank.
 */
export class ErrorBoundary extends Component<ErrorBoundaryProps, { failed: boolean }> {
  override state = { failed: false };
  #retries = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override componentDidCatch(error: unknown): void {
    console.error(`skylapse: ${this.props.part} could not be drawn`, error);
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
        <p className="row-title">{`${this.props.part} could not be shown`}</p>
        <button type="button" className="button" onClick={() => location.reload()}>
          Reload the page
        </button>
      </section>
    );
  }
}
