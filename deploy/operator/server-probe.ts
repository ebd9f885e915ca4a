import { z } from "zod";
import { reasonOf } from "../../platform/error-reason.ts";

const TIMEOUT_MS = 5_000;

const aliveSchema = z.object({ status: z.literal("alive") });

export type ProbeResult =
  | { kind: "server" }
  | { kind: "redirect"; to: string }
  | { kind: "other-program" }
  | { kind: "nothing"; reason: string };

/** Checks which program answers at a URL. Called before a key or a password is sent to the URL. */
export async function probeServer(url: string): Promise<ProbeResult> {
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    const answer = await fetch(new URL("/livez", url), { redirect: "manual", signal });
    const to = answer.status >= 300 && answer.status < 400 ? answer.headers.get("location") : null;
    if (to !== null && URL.canParse(to, url)) return { kind: "redirect", to: new URL(to, url).origin };
    const body: unknown = await answer.json().catch(() => undefined);
    return { kind: aliveSchema.safeParse(body).success ? "server" : "other-program" };
  } catch (error) {
    const isTimeout = error instanceof Error && error.name === "TimeoutError";
    return { kind: "nothing", reason: isTimeout ? `not within ${TIMEOUT_MS / 1000} s` : reasonOf(error) };
  }
}

/** Says why no server can be used at a URL, and what to do. */
export function whyNoServer(result: Exclude<ProbeResult, { kind: "server" }>, url: string): string {
  switch (result.kind) {
    case "redirect":
      return `${url} redirects to ${result.to}: use that address with --url`;
    case "other-program":
      return `another program answers at ${url}: set WS_PORT or --url to where the server is`;
    case "nothing":
      return `no server answers at ${url} (${result.reason}): start it, or set --url to where it is`;
  }
}
