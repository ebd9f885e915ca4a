import { type FormEvent, useState } from "react";

type Field = (name: string) => string;

/** Sends a form. @param send gets the texts of the form's fields; rejects with a message for the user */
export function useSubmit(send: (field: Field) => Promise<void>) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string>();
  const submit = (event: FormEvent<HTMLFormElement>): void => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    setBusy(true);
    setProblem(undefined);
    send((name) => String(form.get(name) ?? ""))
      .catch((error: unknown) => setProblem(error instanceof Error ? error.message : String(error)))
      .finally(() => setBusy(false));
  };
  return { busy, problem, submit };
}
