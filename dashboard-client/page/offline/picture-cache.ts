/** The cache of the last pictures. A fixed name, so that a sign-out in any version of the page deletes it. */
export const PICTURE_CACHE = "skylapse-pictures";

/**
 * How long the pictures are kept: long enough for a trip without a connection. The page shows how old each one is.
 */
export const PICTURE_CACHE_DURATION_S = 7 * 24 * 60 * 60;
/** 500 cameras with a thumbnail each, and the pictures of the last places. A thumbnail has 2 to 20 kB. */
export const MAX_CACHED_PICTURES = 800;
