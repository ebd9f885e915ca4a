import { useCallback, useEffect, useRef, useState } from "react";
import type { Film } from "./film.ts";
import { type Frame, indexAt } from "./frame-times.ts";

/** Pictures per second. */
export const SPEEDS = [2, 5, 10, 25] as const;
export type Speed = (typeof SPEEDS)[number];

/** The pictures that are loaded ahead while the player runs. */
const AHEAD = 6;

interface Held {
  frames: readonly Frame[];
  frame: Frame | undefined;
}

/** The index of the shown frame; the newest one while the latest picture is shown. */
function indexOf({ frames, frame }: Held): number {
  return frame === undefined ? frames.length - 1 : indexAt(frames, frame.at);
}

const LIVE = { frame: undefined, time: undefined };

export interface Player {
  /** The shown frame. Undefined: the latest picture is shown. */
  frame: Frame | undefined;
  /** The time that the user chose with the slider, milliseconds since 1970, which may be without pictures. */
  time: number | undefined;
  isPlaying: boolean;
  speed: Speed;
  setSpeed: (speed: Speed) => void;
  /** Begins at the shown frame, or at the oldest one if the newest is shown. */
  toggle: () => void;
  /** Shows the frame that was taken at this time or before. */
  seek: (at: number) => void;
  /** Goes to another frame. @param by frames; negative: to older ones */
  step: (by: number) => void;
  showLive: () => void;
}

/**
 * Plays the frames of a camera. On a slow link it waits for each picture, so that no picture is left out.
 * @param frames oldest first
 * @param film loads the pictures
 */
export function usePlayer(frames: readonly Frame[], film: Film | undefined): Player {
  const [{ frame, time }, setShown] = useState<Pick<Player, "frame" | "time">>(LIVE);
  const [isPlaying, setPlaying] = useState(false);
  const [speed, setSpeed] = useState<Speed>(10);
  const held = useRef<Held>({ frames, frame });
  held.current = { frames, frame };

  useEffect(() => {
    if (!isPlaying || film === undefined) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    let isOver = false;
    const advance = async (): Promise<void> => {
      const { frames: all } = held.current;
      const next = indexOf(held.current) + 1;
      const wanted = all[next];
      if (wanted === undefined) {
        setPlaying(false);
        return;
      }
      const due = performance.now() + 1000 / speed;
      // The film loads the latest request first: the nearest picture is requested last.
      for (let ahead = next + AHEAD; ahead > next; ahead--) {
        const later = all[ahead];
        if (later !== undefined) void film.load(later.capture);
      }
      await film.load(wanted.capture);
      if (isOver) return;
      setShown({ frame: wanted, time: undefined });
      timer = setTimeout(() => void advance(), Math.max(0, due - performance.now()));
    };
    void advance();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [isPlaying, speed, film]);

  const toggle = useCallback(() => {
    const { frames: all } = held.current;
    if (!isPlaying && indexOf(held.current) >= all.length - 1) setShown({ frame: all[0], time: undefined });
    setPlaying(!isPlaying);
  }, [isPlaying]);
  const seek = useCallback((at: number) => {
    const { frames: all } = held.current;
    setShown({ frame: all[indexAt(all, at)], time: at });
  }, []);
  const step = useCallback((by: number) => {
    const { frames: all } = held.current;
    setPlaying(false);
    const index = Math.min(all.length - 1, Math.max(0, indexOf(held.current) + by));
    setShown({ frame: all[index], time: undefined });
  }, []);
  const showLive = useCallback(() => {
    setPlaying(false);
    setShown(LIVE);
  }, []);
  return { frame, time, isPlaying, speed, setSpeed, toggle, seek, step, showLive };
}
