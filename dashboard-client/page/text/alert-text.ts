import { textOf } from "./i18n.ts";

/** The name of an alert in words, for an ended alert: the alert's message would read like a new alert. */
export function alertName(alert: string): string {
  return textOf("alert", alert) ?? alert.replaceAll("-", " ");
}
