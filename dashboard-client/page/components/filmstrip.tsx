import { type KeyboardEvent, memo, type ReactNode, useEffect, useRef, useState } from "react";
import type { LinkGap } from "../../../contract/events.ts";
import type { Film } from "../film.ts";
import { formatMinute } from "../text/format.ts";
import { gapSpan, gapTitle } from "../text/gap-text.ts";
import { type FilmView, type Frame, useFrame } from "../use-film.ts";
import { useNow } from "../use-now.ts";
import { Icon } from "./icon.tsx";

interface FilmstripProps {
  name: string;
  view: FilmView;
  gaps: readonly LinkGap[];
  zone: string | undefined;
  /** The capture id of the shown picture. Undefined: the latest picture is shown. */
  chosen: string | undefined;
  onChoose: (frame: Frame | undefined) => void;
}

/** Small pictures of the last 48 hours, the newest at the right. The arrow keys move from picture to picture. */
export function Filmstrip({ name, view, gaps, zone, chosen, onChoose }: FilmstripProps): ReactNode {
  const { film, frames, total } = view;
  const now = useNow();
  const list = useRef<HTMLOListElement>(null);
  /** The frame that the Tab key reaches. The arrow keys change this frame. */
  const [current, setCurrent] = useState<string>();
  if (film === undefined || frames.length < 2) return null;
  const stop = frames.some(({ capture }) => capture === current) ? current : frames[0]?.capture;

  const move = (event: KeyboardEvent): void => {
    if (event.key === "Escape") onChoose(undefined);
    const at = frames.findIndex(({ capture }) => capture === stop);
    const frame = frames[target(event.key, at, frames.length) ?? -1];
    if (frame === undefined) return;
    event.preventDefault();
    setCurrent(frame.capture);
    const button = list.current?.querySelector<HTMLElement>(`[data-capture="${frame.capture}"]`);
    button?.focus({ preventScroll: true });
    // Centred, so that the next frames on both sides are visible.
    button?.scrollIntoView({ inline: "center", block: "nearest" });
    // The arrow keys change the large picture only if the user has chosen an earlier one with Enter or a click.
    if (chosen !== undefined) onChoose(frame);
  };

  return (
    <section className="film" aria-label={`The last 48 hours of ${name}`} data-testid="filmstrip">
      <div className="film-head">
        <h3>Last 48 hours</h3>
        <span className="panel-note">{`${total.toLocaleString("en-GB")} picture${total === 1 ? "" : "s"}`}</span>
      </div>
      <ol className="frames" ref={list} onKeyDown={move}>
        {frames.map((frame, index) => (
          <FrameItem
            key={frame.capture}
            film={film}
            frame={frame}
            label={formatMinute(frame.takenAt, zone, now)}
            gap={gapText(gapBetween(frame, frames[index - 1], gaps), zone, now)}
            chosen={frame.capture === chosen}
            stop={frame.capture === stop}
            onChoose={onChoose}
            onFocus={setCurrent}
          />
        ))}
      </ol>
    </section>
  );
}

/** The frames are sorted newest first, so the right arrow moves towards index 0. */
function target(key: string, at: number, count: number): number | undefined {
  if (key === "ArrowLeft") return Math.min(count - 1, at + 1);
  if (key === "ArrowRight") return Math.max(0, at - 1);
  if (key === "Home") return count - 1;
  return key === "End" ? 0 : undefined;
}

/** The gap between a frame and the next newer one. */
function gapBetween(frame: Frame, newer: Frame | undefined, gaps: readonly LinkGap[]): LinkGap | undefined {
  if (newer === undefined) return undefined;
  const [begin, end] = [Date.parse(frame.takenAt), Date.parse(newer.takenAt)];
  return gaps.find(({ to }) => begin <= Date.parse(to) && Date.parse(to) < end);
}

function gapText(gap: LinkGap | undefined, zone: string | undefined, now: number): string | undefined {
  return gap && `${gapTitle(gap)}, ${gapSpan(gap, zone, now)}`;
}

/** The current time is not among the properties, so that frames are not rendered again every second. */
interface FrameItemProps {
  film: Film;
  frame: Frame;
  label: string;
  gap: string | undefined;
  chosen: boolean;
  stop: boolean;
  onChoose: (frame: Frame) => void;
  onFocus: (capture: string) => void;
}

const FrameItem = memo(function FrameItem(props: FrameItemProps): ReactNode {
  const { film, frame, label, gap, chosen, stop, onChoose, onFocus } = props;
  const button = useRef<HTMLButtonElement>(null);
  const isVisible = useVisible(button);
  const picture = useFrame(film, isVisible ? frame.capture : undefined);
  return (
    <li className="frame-item">
      <button
        type="button"
        ref={button}
        className="frame"
        data-testid="film-frame"
        data-capture={frame.capture}
        data-loaded={picture !== undefined}
        aria-pressed={chosen}
        aria-label={`Picture of ${label}`}
        tabIndex={stop ? 0 : -1}
        onFocus={() => onFocus(frame.capture)}
        onClick={() => onChoose(frame)}
      >
        {picture !== undefined && <img src={picture.src} alt="" />}
        <span className="frame-time" aria-hidden="true">
          {label.replace(/\s\S+$/, "")}
        </span>
      </button>
      {gap !== undefined && (
        <span className="frame-gap" title={gap}>
          <Icon name="gap" />
        </span>
      )}
    </li>
  );
});

/** Whether the element has ever been visible, or almost visible. */
function useVisible(element: { current: Element | null }): boolean {
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    if (seen || element.current === null) return;
    const note = (entries: IntersectionObserverEntry[]) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) setSeen(true);
    };
    const observer = new IntersectionObserver(note, { rootMargin: "0px 240px" });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element, seen]);
  return seen;
}
