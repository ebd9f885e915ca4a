import { z } from "zod";
import { reasonOf } from "./error-reason.ts";

/** How long whatever is at an address has to answer, milliseconds. */
const TIMEOUT_MS = 5_000;

const aliveSchema = z.object({ status: z.literal("alive") });

/** What is at an address: a server, something that sends to another place, something else, or why nothing. */
export type Answer =
  | { kind: "server" }
  | { kind: "redirect"; to: string }
  | { kind: "stranger" }
  | { kind: "nobody"; reason: string };

/** Asked before anything is said there: neither the operator key nor a password is a stranger's business. */
export async function whoAnswers(url: string): Promise<Answer> {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(new URL("/livez", url), { redirect: "manual", signal });
    const to = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
    if (to !== null && URL.canParse(to, url)) return { kind: "redirect", to: new URL(to, url).origin };
    const body: unknown = await answer.json().catch(() => undefined);
    return aliveSchema.safeParse(body).success ? { kind: "server" } : { kind: "stranger" };
  } catch (error) {
    const isLate = error instanceof Error && error.name === "TimeoutError";
    return { kind: "nobody", reason: isLate ? `not within ${TIMEOUT_MS / 1000} s` : reasonOf(error) };
  }
}

/** Why nothing can be asked there, and what to do. */
export function absenceOf(answer: Exclude<Answer, { kind: "server" }>, url: string): string {
  switch (answer.kind) {
    case "redirect":
      return `${url} sends on to ${answer.to}: name that by --url`;
    case "stranger":
      return `what answers at ${url} is another program: say by WS_PORT or --url where the server is`;
    case "nobody":
      return `no server answers at ${url} (${answer.reason}): start it, or name another by --url`;
  }
}
