import type { Page } from "playwright-core";

/** The frames of a page while it works. */
export interface Frames {
  count: number;
  perSecond: number;
  /** Milliseconds between two frames. */
  p50: number;
  p95: number;
  /**
   * The processor's time of the page's main thread, milliseconds. Unlike the time between frames, it does not depend on
   * other programs of the machine.
   */
  busyMs: number;
}

/** The frames of the page while `work` runs, for at least some milliseconds. */
export async function measureFrames(page: Page, ms: number, work: () => Promise<unknown>): Promise<Frames> {
  const debug = await page.context().newCDPSession(page);
  await debug.send("Performance.enable", { timeDomain: "threadTicks" });
  const busyMs = async (): Promise<number> => {
    const { metrics } = await debug.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1000;
  };
  const before = await busyMs();
  const [frames] = await Promise.all([framesDuring(page, ms), work()]);
  const after = await busyMs();
  await debug.detach();
  return { ...frames, busyMs: after - before };
}

function framesDuring(page: Page, ms: number): Promise<Omit<Frames, "busyMs">> {
  return page.evaluate(
    (duration) =>
      new Promise<Omit<Frames, "busyMs">>((resolve) => {
        const times: number[] = [];
        const begin = performance.now();
        let last = begin;
        const frame = (now: number): void => {
          times.push(now - last);
          last = now;
          if (now - begin < duration) return void requestAnimationFrame(frame);
          const sorted = times.slice(1).sort((one, other) => one - other);
          const at = (part: number): number => sorted[Math.floor(part * (sorted.length - 1))] ?? 0;
          const { length: count } = times;
          resolve({ count, perSecond: (count * 1000) / (now - begin), p50: at(0.5), p95: at(0.95) });
        };
        requestAnimationFrame(frame);
      }),
    ms,
  );
}

/** Scrolls down by 40 pixels in each frame, and back up from the end. */
export function scrollFor(page: Page, ms: number): Promise<void> {
  return page.evaluate(
    (duration) =>
      new Promise<void>((resolve) => {
        const begin = performance.now();
        let step = 40;
        const frame = (now: number): void => {
          const before = scrollY;
          scrollBy(0, step);
          if (scrollY === before) step = -step;
          if (now - begin < duration) requestAnimationFrame(frame);
          else resolve();
        };
        requestAnimationFrame(frame);
      }),
    ms,
  );
}

export function describeFrames({ count, perSecond, p50, p95, busyMs }: Frames): string {
  const frames = `${perSecond.toFixed(1)} frames/s, p50 ${p50.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms`;
  return `${frames}; main thread busy ${busyMs.toFixed(0)} ms, ${(busyMs / count).toFixed(1)} ms for each frame`;
}
