import { useEffect, useRef, useState } from "react";
import { Film } from "./film.ts";
import type { Picture, Pictures } from "./pictures.ts";

/** Pictures of a strip: at 48 hours, one for every 40 minutes. */
export const FRAMES = 72;
/** The strip is spread anew at most this often, milliseconds; in between, new pictures join its end. */
const RENEW_MS = 60_000;

export interface Frame {
  capture: string;
  takenAt: string;
}

export interface FilmView {
  film: Film | undefined;
  /** Newest first. */
  frames: readonly Frame[];
  /** How many pictures there are in all. */
  total: number;
}

/** What a camera saw in the last 48 hours. @param latest its newest frame, as far as events tell */
export function useFilm(pictures: Pictures, camera: string, latest: Frame | undefined, wanted: boolean): FilmView {
  const [view, setView] = useState<FilmView>({ film: undefined, frames: [], total: 0 });
  const loadedAt = useRef(0);

  useEffect(() => {
    if (!wanted) return;
    const film = new Film(pictures, camera);
    loadedAt.current = 0;
    setView({ film, frames: [], total: 0 });
    return () => {
      film.close();
      setView({ film: undefined, frames: [], total: 0 });
    };
  }, [pictures, camera, wanted]);

  const capture = latest?.capture;
  const takenAt = latest?.takenAt;
  useEffect(() => {
    if (!wanted) return;
    if (Date.now() - loadedAt.current < RENEW_MS) {
      if (capture !== undefined && takenAt !== undefined) setView((before) => withFrame(before, { capture, takenAt }));
      return;
    }
    const ending = new AbortController();
    pictures.film(camera, FRAMES, ending.signal).then(
      ({ previews, total }) => {
        loadedAt.current = Date.now();
        const frames = previews.map((preview) => ({ capture: preview.capture, takenAt: preview.taken_at }));
        setView((before) => ({ ...before, frames, total }));
      },
      // With the next picture it is tried again; what is shown stays.
      () => undefined,
    );
    return () => ending.abort();
  }, [pictures, camera, capture, takenAt, wanted]);

  return view;
}

function withFrame(view: FilmView, frame: Frame): FilmView {
  if (view.frames.some(({ capture }) => capture === frame.capture)) return view;
  const frames = [frame, ...view.frames].sort((one, other) => Date.parse(other.takenAt) - Date.parse(one.takenAt));
  return { ...view, frames: frames.slice(0, 2 * FRAMES), total: view.total + 1 };
}

/** A picture of the strip, once it is there. @param capture undefined for none */
export function useFrame(film: Film | undefined, capture: string | undefined): Picture | undefined {
  const [, setLoaded] = useState<string>();
  useEffect(() => {
    if (film === undefined || capture === undefined) return;
    let wanted = true;
    void film.load(capture).then(() => wanted && setLoaded(capture));
    return () => {
      wanted = false;
    };
  }, [film, capture]);
  return capture === undefined ? undefined : film?.held(capture);
}
