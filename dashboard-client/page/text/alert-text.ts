import { t, textOf } from "./i18n.ts";

/** The name of an alert in words, for an ended alert: the alert's message would read like a new alert. */
export function alertName(alert: string): string {
  return textOf("alert", alert) ?? alert.replaceAll("-", " ");
}

/** Who did something, as the server names it (`user:alice`, `operator`), in words. */
export function personName(by: string): string {
  if (by === "operator") return t("alerts.operator");
  return by.startsWith("user:") ? by.slice("user:".length) : by;
}
