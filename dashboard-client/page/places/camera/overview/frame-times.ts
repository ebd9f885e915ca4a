/** A kept picture of a camera. */
export interface Frame {
  capture: string;
  /** When the picture was taken, milliseconds since 1970. */
  at: number;
}

/** A time without pictures, milliseconds since 1970. */
export interface Pause {
  from: number;
  to: number;
}

/** A pause is so many times longer than the usual time between two pictures. */
const PAUSE_FACTOR = 4;
const MIN_PAUSE_MS = 10_000;

/**
 * The times without pictures, such as nights and lost links.
 * @param frames oldest first
 */
export function pausesOf(frames: readonly Frame[]): Pause[] {
  const steps = frames.slice(1).map(({ at }, index) => at - (frames[index]?.at ?? at));
  const usual = [...steps].sort((one, other) => one - other)[Math.floor(steps.length / 2)] ?? 0;
  const longest = Math.max(MIN_PAUSE_MS, usual * PAUSE_FACTOR);
  return steps.flatMap((step, index) => {
    const from = frames[index]?.at;
    return step > longest && from !== undefined ? [{ from, to: from + step }] : [];
  });
}

/** The index of the last frame that was taken at this time or before; the first one, if there is none. -1 without frames. */
export function indexAt(frames: readonly Frame[], at: number): number {
  let low = 0;
  let high = frames.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((frames[middle]?.at ?? 0) <= at) low = middle + 1;
    else high = middle;
  }
  return frames.length === 0 ? -1 : Math.max(0, low - 1);
}

/** The frame for each cell of a strip: the one nearest to the middle of the cell. Undefined where there is none. */
export function cellsOf(frames: readonly Frame[], from: number, to: number, count: number): (Frame | undefined)[] {
  const width = (to - from) / count;
  return Array.from({ length: count }, (_, cell) => {
    const [begin, end] = [from + cell * width, from + (cell + 1) * width];
    const middle = (begin + end) / 2;
    const index = indexAt(frames, middle);
    const near = [frames[index], frames[index + 1]].filter((frame) => frame !== undefined);
    near.sort((one, other) => Math.abs(one.at - middle) - Math.abs(other.at - middle));
    return near.find(({ at }) => at >= begin && at <= end);
  });
}

/** Adds a frame in the order of time. */
export function withFrame(frames: readonly Frame[], frame: Frame): readonly Frame[] {
  if (frames.some(({ capture }) => capture === frame.capture)) return frames;
  const index =
    frames.length === 0 || frame.at >= (frames.at(-1)?.at ?? 0) ? frames.length : indexAt(frames, frame.at) + 1;
  return frames.toSpliced(index, 0, frame);
}
