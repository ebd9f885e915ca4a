import { SERVER_TIME, scriptsOf } from "../../../../platform/redis/script.ts";

const { load } = scriptsOf(import.meta.url);

export const OPEN = load("open");
export const RENEW = load("renew");
export const APPEND = load("append");
export const TRIM = load("trim", SERVER_TIME);
export const UPKEEP = load("upkeep");
export const TRIM_PUBLICATIONS = load("trim-publications");
export const COMPACT_PUBLICATIONS = load("compact-publications");
export const ROWS = load("rows");
export const SHARES = load("shares");
export const TAKE_OVER = load("take-over");
export const REMOVE_RETAINED = load("remove-retained");
