import { type PointerEvent, useCallback, useEffect, useRef, useState } from "react";

export interface View {
  /** 1: the whole picture. */
  scale: number;
  /** The shift of the centre, as parts of the width and height. */
  x: number;
  y: number;
}

const WHOLE: View = { scale: 1, x: 0, y: 0 };
const MAX_SCALE = 8;
const STEP = 1.5;

/** Limits a view, so that the picture always fills the box. */
export function limited({ scale, x, y }: View): View {
  const next = Math.min(MAX_SCALE, Math.max(1, scale));
  const most = (next - 1) / 2;
  const within = (shift: number): number => Math.min(most, Math.max(-most, shift));
  return { scale: next, x: within(x), y: within(y) };
}

/**
 * Changes the scale, and keeps the point below the pointer in its place.
 * @param at the point as parts of the box, from −0.5 to 0.5
 */
export function zoomed(view: View, scale: number, at: { x: number; y: number } = { x: 0, y: 0 }): View {
  const next = Math.min(MAX_SCALE, Math.max(1, scale));
  const ratio = next / view.scale;
  return limited({ scale: next, x: at.x - (at.x - view.x) * ratio, y: at.y - (at.y - view.y) * ratio });
}

/** Zoom and shift of a picture by pointers, by the wheel with Ctrl, and by two fingers. */
export function useZoom() {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState(WHOLE);
  const pointers = useRef(new Map<number, { x: number; y: number }>());

  const placeOf = (event: { clientX: number; clientY: number }): { x: number; y: number } => {
    const { left, top, width, height } = box.current?.getBoundingClientRect() ?? new DOMRect(0, 0, 1, 1);
    return { x: (event.clientX - left) / width - 0.5, y: (event.clientY - top) / height - 0.5 };
  };

  // React listens to the wheel passively. Without Ctrl, the wheel scrolls the page, as everywhere.
  useEffect(() => {
    const element = box.current;
    const turn = (event: WheelEvent): void => {
      if (!event.ctrlKey && document.fullscreenElement === null) return;
      event.preventDefault();
      const at = placeOf(event);
      setView((before) => zoomed(before, before.scale * Math.exp(-event.deltaY / 300), at));
    };
    element?.addEventListener("wheel", turn, { passive: false });
    return () => element?.removeEventListener("wheel", turn);
  });

  const down = (event: PointerEvent): void => {
    pointers.current.set(event.pointerId, placeOf(event));
    if (view.scale > 1 || pointers.current.size > 1) event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent): void => {
    const before = pointers.current.get(event.pointerId);
    if (before === undefined) return;
    const now = placeOf(event);
    const other = [...pointers.current].find(([id]) => id !== event.pointerId)?.[1];
    pointers.current.set(event.pointerId, now);
    if (other === undefined)
      setView((held) => limited({ ...held, x: held.x + now.x - before.x, y: held.y + now.y - before.y }));
    else {
      const [apart, was] = [
        Math.hypot(now.x - other.x, now.y - other.y),
        Math.hypot(before.x - other.x, before.y - other.y),
      ];
      const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
      if (was > 0) setView((held) => zoomed(held, (held.scale * apart) / was, middle));
    }
  };
  const up = (event: PointerEvent): void => void pointers.current.delete(event.pointerId);

  return {
    box,
    view,
    handlers: { onPointerDown: down, onPointerMove: move, onPointerUp: up, onPointerCancel: up },
    zoomIn: useCallback(() => setView((before) => zoomed(before, before.scale * STEP)), []),
    zoomOut: useCallback(() => setView((before) => zoomed(before, before.scale / STEP)), []),
    reset: useCallback(() => setView(WHOLE), []),
    shift: useCallback(
      (x: number, y: number) => setView((held) => limited({ ...held, x: held.x + x, y: held.y + y })),
      [],
    ),
  };
}
