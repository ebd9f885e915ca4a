// Without zod, because the client library loads this module.

/**
 * Ids of cameras, services, jobs, captures, states and alerts. With these letters, an id can never be an MQTT wildcard
 * (`#`, `+`), contain a level separator (`/`), or name a `$SYS` topic or an inherited property (`__proto__`).
 */
export const ID = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Event names such as `capture.completed`: ids joined by dots, at most 63 characters. */
export const EVENT_NAME = /^(?=.{1,63}$)[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_-]*)*$/;

export function isId(text: string): boolean {
  return ID.test(text);
}

export function isEventName(text: string): boolean {
  return EVENT_NAME.test(text);
}
