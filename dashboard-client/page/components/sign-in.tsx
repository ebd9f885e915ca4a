import { type ComponentProps, type FormEvent, type ReactNode, useId, useState } from "react";
import { Icon } from "./icon.tsx";

interface SignInProps {
  /** Rejects with a message for the user. */
  onSignIn: (userId: string, password: string) => Promise<void>;
  userId: string | undefined;
  reason: string | undefined;
}

export function SignIn({ onSignIn, userId, reason }: SignInProps): ReactNode {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string>();

  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [user, password] = [form.get("user"), form.get("password")];
    if (typeof user !== "string" || typeof password !== "string") return;
    setBusy(true);
    setError(undefined);
    onSignIn(user.trim(), password)
      .catch((problem: unknown) => setError(problem instanceof Error ? problem.message : "Sign-in failed: try again"))
      .finally(() => setBusy(false));
  };

  return (
    <main className="sign-in-page">
      <form className="sign-in" data-testid="sign-in" onSubmit={submit}>
        <span className="sign-in-icon">
          <Icon name="key" />
        </span>
        <h2>Sign in</h2>
        <p>{reason ?? "Sign in to see the cameras"}</p>
        <Field label="User" name="user" autoComplete="username" autoCapitalize="none" defaultValue={userId} />
        <Field
          label="Password"
          name="password"
          type="password"
          autoComplete="current-password"
          aria-invalid={!!error}
        />
        {error !== undefined && (
          <p className="sign-in-error" role="alert">
            {error}
          </p>
        )}
        <button type="submit" className="button primary" disabled={busy}>
          {busy ? "Signing in…" : "Sign in"}
        </button>
        <p className="sign-in-help">
          <span>To add an account, run this on the server: </span>
          <code>npx skylapse user add</code>
        </p>
      </form>
    </main>
  );
}

function Field({ label, ...input }: ComponentProps<"input"> & { label: string }): ReactNode {
  const id = useId();
  return (
    <>
      <label htmlFor={id}>{label}</label>
      <input id={id} spellCheck={false} required {...input} />
    </>
  );
}
