/** A fixed name, so that a sign-out in any version of the page deletes the pictures. */
const CACHE = "skylapse-pictures";

/** A picture that is older is deleted: long enough for a trip without a connection. The page shows how old each one is. */
const CACHE_DURATION_MS = 7 * 24 * 60 * 60 * 1000;
/** 500 cameras with a thumbnail each, and the large pictures of some. A thumbnail has 2 to 20 kB. */
const MAX_CACHED_PICTURES = 600;

/** Keeps the answer with a latest picture for a start without a connection. Never rejects. */
export async function keepPicture(url: URL, answer: Response): Promise<void> {
  const kept = await openCache();
  if (kept === undefined) return;
  try {
    await kept.put(url, answer);
    const all = await kept.keys();
    // A put moves its entry to the end, so the first ones are the oldest.
    for (const old of all.slice(0, Math.max(0, all.length - MAX_CACHED_PICTURES))) await kept.delete(old);
  } catch {
    // The disk is full.
  }
}

/** The last answer with this picture, of any width. Undefined if there is none. Never rejects. */
export async function keptPicture(url: URL): Promise<Response | undefined> {
  const kept = await openCache();
  const answer = (await kept?.match(url)) ?? (await kept?.match(url, { ignoreSearch: true }));
  const receivedAt = Date.parse(answer?.headers.get("date") ?? "");
  return Date.now() - receivedAt < CACHE_DURATION_MS ? answer : undefined;
}

/** For a sign-out. This page keeps no picture from now on. */
export async function deletePictures(): Promise<void> {
  const hasCache = (await openCache()) !== undefined;
  isDeleted = true;
  if (hasCache) await caches.delete(CACHE);
}

let isDeleted = false;

/** Undefined if the browser has no cache here, or has forbidden it. Browsers have one only with https, and on localhost. */
function openCache(): Promise<Cache | undefined> {
  if (isDeleted || typeof caches === "undefined") return Promise.resolve(undefined);
  return caches.open(CACHE).catch(() => undefined);
}
