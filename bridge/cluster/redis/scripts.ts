import { SERVER_TIME, scriptsOf } from "../../../platform/redis/script.ts";

const { load, text } = scriptsOf(import.meta.url);

const NOTIFY = text("notify");
const VERSION_OF = text("version-of");

export const ENTER = load("enter");
export const ADD_CONNECTIONS = load("add-connections");
export const REMOVE_CONNECTIONS = load("remove-connections");
export const ACQUIRE_LEASE = load("acquire-lease", SERVER_TIME);
export const TIDY_CONNECTIONS = load("tidy-connections");
export const COUNT_CONNECTIONS = load("count-connections");
export const RENEW_LEASE = load("renew-lease");
export const RELEASE_LEASE = load("release-lease");
export const COUNT_RATE = load("count-rate");
export const FORGET_RATE = load("forget-rate");
export const ADD_COUNTS = load("add-counts", SERVER_TIME);
export const PUBLISH = load("publish", NOTIFY);
export const PUT_DOCUMENT = load("put-document", VERSION_OF, NOTIFY);
export const DELETE_DOCUMENT = load("delete-document", VERSION_OF, NOTIFY);
export const SWEEP_DOCUMENTS = load("sweep-documents", VERSION_OF);
export const NAME_STORE = load("name-store");
export const WRITE_BACK = load("write-back");
