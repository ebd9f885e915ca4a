/** The MQTT 5 user property that marks what this installation published itself. */
export const ORIGIN_PROPERTY = "skylapse-origin";
