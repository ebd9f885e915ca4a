import { useEffect, useRef, useState } from "react";
import { Film } from "./film.ts";
import type { Picture, Pictures } from "./pictures.ts";

/** One picture for every 40 minutes of 48 hours. */
const FRAMES = 72;
/** The shortest time between two loads of the list, milliseconds. In between, new pictures are added to the list. */
const RENEW_MS = 60_000;

export interface Frame {
  capture: string;
  takenAt: string;
}

export interface FilmView {
  film: Film | undefined;
  /** Newest first. */
  frames: readonly Frame[];
  total: number;
}

/**
 * The pictures of a camera of the last 48 hours.
 * @param latest the newest picture according to the events
 * @param isShown false loads nothing
 */
export function useFilm(pictures: Pictures, camera: string, latest: Frame | undefined, isShown: boolean): FilmView {
  const [view, setView] = useState<FilmView>({ film: undefined, frames: [], total: 0 });
  const loadedAt = useRef(0);

  useEffect(() => {
    if (!isShown) return;
    const film = new Film(pictures, camera);
    loadedAt.current = 0;
    setView({ film, frames: [], total: 0 });
    return () => {
      film.close();
      setView({ film: undefined, frames: [], total: 0 });
    };
  }, [pictures, camera, isShown]);

  const capture = latest?.capture;
  const takenAt = latest?.takenAt;
  useEffect(() => {
    if (!isShown) return;
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
      // The next picture causes another attempt.
      () => undefined,
    );
    return () => ending.abort();
  }, [pictures, camera, capture, takenAt, isShown]);

  return view;
}

function withFrame(view: FilmView, frame: Frame): FilmView {
  if (view.frames.some(({ capture }) => capture === frame.capture)) return view;
  const frames = [frame, ...view.frames].sort((one, other) => Date.parse(other.takenAt) - Date.parse(one.takenAt));
  return { ...view, frames: frames.slice(0, 2 * FRAMES), total: view.total + 1 };
}

/** Undefined until the picture is loaded. @param capture undefined loads nothing */
export function useFrame(film: Film | undefined, capture: string | undefined): Picture | undefined {
  const [, setLoaded] = useState<string>();
  useEffect(() => {
    if (film === undefined || capture === undefined) return;
    let isCurrent = true;
    void film.load(capture).then(() => isCurrent && setLoaded(capture));
    return () => {
      isCurrent = false;
    };
  }, [film, capture]);
  return capture === undefined ? undefined : film?.held(capture);
}
