import { type FormEvent, type ReactNode, useId, useState } from "react";
import { Icon } from "./icon.tsx";

export interface SignInProps {
  /** Rejects with what to tell the operator. */
  onSignIn: (key: string) => Promise<void>;
  /** What the server said last. */
  reason: string | undefined;
}

export function SignIn({ onSignIn, reason }: SignInProps): ReactNode {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();
  const field = useId();

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const key = new FormData(event.currentTarget).get("key");
    if (typeof key !== "string" || key.trim() === "") return;
    setBusy(true);
    setError(undefined);
    onSignIn(key.trim())
      .catch((problem: unknown) => setError(problem instanceof Error ? problem.message : "Signing in failed"))
      .finally(() => setBusy(false));
  };

  return (
    <main className="sign-in-page">
      <form className="sign-in" data-testid="sign-in" onSubmit={submit}>
        <span className="sign-in-icon">
          <Icon name="key" />
        </span>
        <h2>Sign in</h2>
        <p>{reason ?? "The server asks for an operator key"}. It is kept until this tab is closed.</p>
        {/* Password managers file the key under this name. */}
        <input type="text" name="username" value="operator" autoComplete="username" readOnly hidden />
        <label htmlFor={field}>Operator key</label>
        <input
          id={field}
          name="key"
          type="password"
          autoComplete="current-password"
          required
          aria-invalid={error !== undefined}
        />
        {error !== undefined && (
          <p className="sign-in-error" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </main>
  );
}
