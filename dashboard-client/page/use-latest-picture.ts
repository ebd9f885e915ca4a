import { useEffect, useRef, useState } from "react";
import type { PictureWidth } from "./picture-width.ts";
import { NoPictureYetError, type Picture, type Pictures } from "./pictures.ts";

const RETRY_MS = 5000;

export interface LatestPicture {
  picture: Picture | undefined;
  /** The previous picture, over which the new picture fades in. */
  before?: Picture | undefined;
  /** `none`: the camera has not sent a picture. `failed`: the request failed. */
  status: "loading" | "shown" | "none" | "failed";
}

const NOTHING: LatestPicture = { picture: undefined, status: "loading" };

/**
 * The latest picture of a camera, loaded at the start, after a reconnect, and when `version` (the etag of the latest
 * preview) changes. At most two pictures of a camera are in memory.
 * @param options.width of a thumbnail; the first value stays. Default: the picture itself
 * @param options.lostAt when events were lost last, so that the newest one may have been missed
 */
export function useLatestPicture(
  pictures: Pictures,
  camera: string,
  version: string | undefined,
  live: boolean,
  { width, lostAt }: { width?: PictureWidth | undefined; lostAt?: number | undefined } = {},
): LatestPicture {
  const [shown, setShown] = useState<LatestPicture>(NOTHING);
  const held = useRef<LatestPicture>(NOTHING);
  const complete = useRef(lostAt);
  const [size] = useState(width);

  useEffect(() => {
    const { picture } = held.current;
    if (version !== undefined && version === picture?.etag) return;
    // No event has named another picture, and no event was lost.
    if (version === undefined && picture !== undefined && lostAt === complete.current) return;
    const ending = new AbortController();
    let retry: ReturnType<typeof setTimeout> | undefined;
    const show = (next: LatestPicture): void => {
      held.current = next;
      setShown(next);
    };
    const load = async (): Promise<void> => {
      try {
        show(replaced(held.current, await pictures.latest(camera, ending.signal, size)));
        complete.current = lostAt;
      } catch (error) {
        if (ending.signal.aborted) return;
        // While there is no connection, an earlier answer that there is no picture remains valid.
        const stillNone = !live && version === undefined && held.current.status === "none";
        const status = error instanceof NoPictureYetError || stillNone ? "none" : "failed";
        if (held.current.picture === undefined) show({ ...held.current, status });
        if (live && status === "failed") retry = setTimeout(load, RETRY_MS);
      }
    };
    void load();
    return () => {
      clearTimeout(retry);
      ending.abort();
    };
  }, [pictures, camera, version, live, size, lostAt]);

  useEffect(
    () => () => {
      held.current.picture?.release();
      held.current.before?.release();
      held.current = NOTHING;
    },
    [],
  );

  return shown;
}

/** Keeps the shown picture if the loaded picture is the same. */
function replaced(held: LatestPicture, picture: Picture): LatestPicture {
  if (held.picture !== undefined && picture.etag !== undefined && held.picture.etag === picture.etag) {
    picture.release();
    return held;
  }
  held.before?.release();
  return { picture, before: held.picture, status: "shown" };
}
