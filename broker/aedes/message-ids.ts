/**
 * The ids of messages to a client, 1 to 65,535 [MQTT-2.3.1-1], by their kind, so that one acknowledgement has one meaning:
 *
 * - 1 to 60,000: publications of the log to a session, by a function of the position; and all messages to a client with a
 *   clean session, in turn.
 * - up to 62,767: retained messages and `$` topics to a session, which have no place in the log.
 * - up to 65,535: shared subscriptions, by which a client may get one publication several times.
 */
export const POSITION_IDS = 60_000;
export const FIRST_UNLOGGED_ID = POSITION_IDS + 1;
export const LAST_UNLOGGED_ID = 62_767;
export const FIRST_SHARE_ID = LAST_UNLOGGED_ID + 1;
export const LAST_SHARE_ID = 65_535;
