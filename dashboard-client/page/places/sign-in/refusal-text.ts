import { SignInRefusedError } from "../../access.ts";
import { t } from "../../text/i18n.ts";

/**
 * What the user reads after a refused password. The server's own words are English, so the usual refusals have texts here.
 * @param wrong the text for the status of a wrong password
 */
export function refusalText(problem: unknown, wrongStatus: number, wrong: string): string {
  if (problem instanceof SignInRefusedError) {
    const { status, retryAfterSeconds } = problem;
    if (retryAfterSeconds !== undefined) return t("signIn.tooMany", { count: retryAfterSeconds });
    return status === wrongStatus ? wrong : problem.message;
  }
  // `fetch` reports every failure of the network as a TypeError.
  if (problem instanceof TypeError) return t("signIn.unreachable");
  return problem instanceof Error ? problem.message : t("signIn.failed");
}
