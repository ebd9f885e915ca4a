import { SIGN_IN_FRAGMENT } from "../../contract/sign-in.ts";

const RETURN_NAME = "skylapse:return-to";
const PREFIX = `#${SIGN_IN_FRAGMENT}=`;

/** The outcome of a sign-in with the identity provider, which the page has not read yet. */
let outcome: string | undefined;

/**
 * Reads the outcome of a sign-in with the identity provider from the address, and restores the address of the place that
 * was shown before. Call it before the page is rendered.
 * @returns `done`, the reason of a failure, or undefined when the page was opened in another way
 */
export function takeSignInOutcome(): string | undefined {
  if (!location.hash.startsWith(PREFIX)) return undefined;
  outcome = location.hash.slice(PREFIX.length);
  history.replaceState(null, "", `${location.pathname}${location.search}${returnAddress()}`);
  return outcome;
}

/** The reason why the last sign-in with the identity provider failed. */
export function signInFailure(): string | undefined {
  return outcome === "done" ? undefined : outcome;
}

/** Remembers the shown place until the identity provider sends the browser back. */
export function rememberPlace(): void {
  try {
    sessionStorage.setItem(RETURN_NAME, location.hash);
  } catch {
    // The browser forbids storage: the fleet is shown after the sign-in.
  }
}

function returnAddress(): string {
  try {
    const address = sessionStorage.getItem(RETURN_NAME) ?? "";
    sessionStorage.removeItem(RETURN_NAME);
    return /^#\/[^\s]*$/.test(address) ? address : "";
  } catch {
    return "";
  }
}
