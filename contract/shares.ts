import { MAX_TOPIC_LENGTH } from "./topics.ts";

const SHARE = "$share";

/** The parts of the filter of a shared subscription, such as `$share/archive/skylapse/v1/cameras/#`. */
export interface SharedFilter {
  /** The name of the group. */
  readonly share: string;
  /** The topic filter, without the group. */
  readonly filter: string;
}

/** The filter of the shared subscription, as clients write it. */
export function sharedFilterText({ share, filter }: SharedFilter): string {
  return `${SHARE}/${share}/${filter}`;
}

/** Whether the filter has the form of a shared subscription, malformed or not. */
export function isShared(filter: string): boolean {
  return filter === SHARE || filter.startsWith(`${SHARE}/`);
}

/** The parts of a well-formed filter of a shared subscription; undefined for any other filter. */
export function sharedFilterOf(filter: string): SharedFilter | undefined {
  if (!isShared(filter) || sharedFilterProblem(filter) !== undefined) return undefined;
  const [, share = "", ...levels] = filter.split("/");
  return { share, filter: levels.join("/") };
}

/** What is wrong with the filter of a shared subscription before its topic filter, or undefined [MQTT-4.8.2-1, MQTT-4.8.2-2]. */
export function sharedFilterProblem(filter: string): string | undefined {
  const [, share = "", ...levels] = filter.split("/");
  if (share === "") return "has no name of a group: write $share/NAME/FILTER";
  if (/[+#]/.test(share)) return "has a wildcard in the name of its group";
  if (levels.join("/") === "") return "has no topic filter after the name of its group: write $share/NAME/FILTER";
  if (filter.length > MAX_TOPIC_LENGTH) return `is longer than ${MAX_TOPIC_LENGTH} characters`;
  return /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\ufffd]/u.test(share) ? "contains a control or format character" : undefined;
}
