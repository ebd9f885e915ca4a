import { scriptsOf } from "../../platform/redis/script.ts";

const { load, text } = scriptsOf(import.meta.url);

const REMOVE = text("remove");

export const PUT = load("put", REMOVE);
export const REMOVE_EXPIRED = load("remove-expired", REMOVE);
