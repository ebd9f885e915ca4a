import { type KeyboardEvent, memo, type ReactNode, useEffect, useMemo, useRef, useState } from "react";
import type { LinkGap } from "../../../../../contract/events.ts";
import { formatMinute } from "../../../text/format.ts";
import { gapSpan, gapTitle } from "../../../text/gap-text.ts";
import { t } from "../../../text/i18n.ts";
import type { Film } from "./film.ts";
import { cellsOf, type Frame, type Pause, pausesOf } from "./frame-times.ts";
import { useFrame } from "./use-frame.ts";
import type { Player } from "./use-player.ts";

interface TimelineProps {
  /** Oldest first, at least two. */
  frames: readonly Frame[];
  /** Loads the small pictures of the strip. */
  film: Film | undefined;
  gaps: readonly LinkGap[];
  zone: string | undefined;
  /** The current time, rounded to a minute. */
  minute: number;
  player: Player;
}

const CELL_PIXELS = 84;
const PAGE_FRAMES = 10;

/** A strip of small pictures in the order of time, with a slider. Times without pictures are hatched, lost events marked. */
export function Timeline({ frames, film, gaps, zone, minute, player }: TimelineProps): ReactNode {
  const strip = useRef<HTMLDivElement>(null);
  const cells = Math.max(3, Math.floor(useWidth(strip) / CELL_PIXELS));
  const [from, to] = [frames[0]?.at ?? 0, frames.at(-1)?.at ?? 1];
  const pauses = useMemo(() => pausesOf(frames), [frames]);
  const at = player.time ?? player.frame?.at ?? to;
  const label = formatMinute(at, zone, minute);

  const press = (event: KeyboardEvent): void => {
    const action = {
      ArrowLeft: () => player.step(-1),
      ArrowDown: () => player.step(-1),
      ArrowRight: () => player.step(1),
      ArrowUp: () => player.step(1),
      PageDown: () => player.step(-PAGE_FRAMES),
      PageUp: () => player.step(PAGE_FRAMES),
      Home: () => player.seek(from),
      End: () => player.seek(to),
      " ": player.toggle,
      Escape: player.showLive,
    }[event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  };

  const share = (time: number): string => `${((Math.min(to, Math.max(from, time)) - from) / (to - from)) * 100}%`;
  const span = ({ from: begin, to: end }: Pause) => ({ left: share(begin), right: `calc(100% - ${share(end)})` });
  return (
    <div className="timeline" data-testid="timeline">
      <div className="timeline-strip" ref={strip}>
        <Cells frames={frames} film={film} from={from} to={to} count={cells} />
        {pauses.map((pause) => (
          <span key={pause.from} className="timeline-pause" data-testid="timeline-pause" style={span(pause)} />
        ))}
        {gaps
          .map((gap) => ({ gap, from: Date.parse(gap.from), to: Date.parse(gap.to) }))
          .filter((gap) => gap.to > from && gap.from < to)
          .map(({ gap, ...times }) => (
            <span
              key={`${gap.from} ${gap.first_seq ?? ""}`}
              className="timeline-gap"
              data-testid="timeline-gap"
              style={span(times)}
              title={`${gapTitle(gap)}, ${gapSpan(gap, zone, minute)}`}
            />
          ))}
        <span className="timeline-now" style={{ left: share(at) }} aria-hidden="true" />
        <input
          type="range"
          className="timeline-input"
          data-testid="timeline-input"
          min={from}
          max={to}
          step={1}
          value={at}
          aria-label={t("camera.timeline")}
          aria-valuetext={label}
          onChange={(event) => player.seek(Number(event.target.value))}
          onKeyDown={press}
        />
      </div>
      <div className="timeline-ends" aria-hidden="true">
        <span>{formatMinute(from, zone, minute)}</span>
        <span>{formatMinute(to, zone, minute)}</span>
      </div>
    </div>
  );
}

interface CellsProps {
  frames: readonly Frame[];
  film: Film | undefined;
  from: number;
  to: number;
  count: number;
}

const Cells = memo(function Cells({ frames, film, from, to, count }: CellsProps): ReactNode {
  const chosen = useMemo(() => cellsOf(frames, from, to, count), [frames, from, to, count]);
  return (
    <div className="timeline-cells" aria-hidden="true">
      {chosen.map((frame, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a cell is its place in the strip
        <Cell key={index} film={film} capture={frame?.capture} />
      ))}
    </div>
  );
});

function Cell({ film, capture }: { film: Film | undefined; capture: string | undefined }): ReactNode {
  const picture = useFrame(film, capture);
  return (
    <div className="timeline-cell" data-loaded={picture !== undefined}>
      {picture !== undefined && <img src={picture.src} alt="" />}
    </div>
  );
}

function useWidth(element: { current: Element | null }): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (element.current === null) return;
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
