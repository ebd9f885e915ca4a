import { type FormEvent, useState } from "react";

/** Sends a form once. @param send rejects with a message for the user, which `problem` then has */
export function useForm<Result>(send: () => Promise<Result>, onDone: (result: Result) => void) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const onSubmit = (event: FormEvent): void => {
    event.preventDefault();
    // React passes an event of a dialog on to the form around the dialog's component.
    event.stopPropagation();
    setBusy(true);
    setProblem(undefined);
    send()
      .then(onDone, (error: unknown) => setProblem(error instanceof Error ? error.message : String(error)))
      .finally(() => setBusy(false));
  };
  return { busy, problem, onSubmit };
}
