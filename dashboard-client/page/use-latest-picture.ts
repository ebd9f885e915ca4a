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
 * @param width of a thumbnail; the first value stays. Default: the picture itself
 */
export function useLatestPicture(
  pictures: Pictures,
  camera: string,
  version: string | undefined,
  live: boolean,
  width?: PictureWidth,
): LatestPicture {
  const [shown, setShown] = useState<LatestPicture>(NOTHING);
  const held = useRef<LatestPicture>(NOTHING);
  const [size] = useState(width);

  useEffect(() => {
    if (version !== undefined && version === held.current.picture?.etag) return;
    const ending = new AbortController();
    let retry: ReturnType<typeof setTimeout> | undefined;
    const show = (next: LatestPicture): void => {
      held.current = next;
      setShown(next);
    };
    const load = async (): Promise<void> => {
      try {
        show(replaced(held.current, await pictures.latest(camera, ending.signal, size)));
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
  }, [pictures, camera, version, live, size]);

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
