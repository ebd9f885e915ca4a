import { useEffect, useRef, useState } from "react";
import { NoPictureYetError, type Picture, type Pictures } from "./pictures.ts";

const RETRY_MS = 5000;

export interface LatestPicture {
  picture: Picture | undefined;
  /** The one before, over which the new one fades in. */
  before: Picture | undefined;
  /** `none`: the camera has sent none. `failed`: there may be one, but it did not come. */
  status: "loading" | "shown" | "none" | "failed";
}

const NOTHING: LatestPicture = { picture: undefined, before: undefined, status: "loading" };

/**
 * The camera's latest picture: loaded at first, again when `version` (the etag of its latest preview) changes, and
 * again when the connection is back. Never more than two pictures are held per camera.
 */
export function useLatestPicture(
  pictures: Pictures,
  camera: string,
  version: string | undefined,
  live: boolean,
): LatestPicture {
  const [shown, setShown] = useState<LatestPicture>(NOTHING);
  const held = useRef<LatestPicture>(NOTHING);

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
        show(replaced(held.current, await pictures.latest(camera, ending.signal)));
      } catch (error) {
        if (ending.signal.aborted) return;
        // That there was none is still what was last known, when nobody can be asked and nobody has said otherwise.
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
  }, [pictures, camera, version, live]);

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

/** Tells a picture that is the same from a new one; the picture before the one before is no longer shown anywhere. */
function replaced(held: LatestPicture, picture: Picture): LatestPicture {
  if (held.picture !== undefined && picture.etag !== undefined && held.picture.etag === picture.etag) {
    picture.release();
    return held;
  }
  held.before?.release();
  return { picture, before: held.picture, status: "shown" };
}
