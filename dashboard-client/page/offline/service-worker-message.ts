/** The message from a page to a new service worker: the user accepts the new build. */
export const ACTIVATE = "activate";
