import { lazy, type ReactNode, type RefObject, Suspense, useLayoutEffect, useRef, useState } from "react";
import { ErrorBoundary } from "../../components/error-boundary.tsx";
import { t } from "../../text/i18n.ts";
import { FleetCard, FleetRow } from "./fleet-card.tsx";
import type { FleetView } from "./fleet-query.ts";
import type { Line } from "./virtual-lines.tsx";

/** The sizes of `fleet.css`, pixels: the rows of the list are positioned by them. */
const GRID = { minCardWidth: 250, maxCardWidth: 620, gap: 16, pictureRatio: 0.625, bodyHeight: 106, maxColumns: 8 };
const LIST = { rowHeight: 72, phoneRowHeight: 108, phoneWidth: 700, gap: 6 };
/** Up to this number of cameras, all are rendered. More need code that the first screen does not load. */
const ALL_RENDERED = 40;

const VirtualLines = lazy(() => import("./virtual-lines.tsx"));

/** The cameras. Of many, only the rows near the window are rendered, so that 500 cameras scroll like 50. */
export function FleetList({ ids, view }: { ids: readonly string[]; view: FleetView }): ReactNode {
  const box = useRef<HTMLDivElement>(null);
  const { width, top } = useBox(box);
  const { columns, rowHeight, gap } = layoutOf(view, width, ids.length);
  const count = width === 0 ? 0 : Math.ceil(ids.length / columns);
  const size = rowHeight + gap;
  const Item = view === "grid" ? FleetCard : FleetRow;
  const renderLine = ({ index, start }: Line): ReactNode => (
    <div
      key={index}
      className={`fleet-line fleet-line-${view}`}
      role="presentation"
      style={{
        transform: `translateY(${start}px)`,
        height: rowHeight,
        gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
      }}
    >
      {ids.slice(index * columns, (index + 1) * columns).map((id, column) => (
        <ErrorBoundary key={id} part={id}>
          <Item id={id} position={index * columns + column + 1} size={ids.length} />
        </ErrorBoundary>
      ))}
    </div>
  );
  return (
    <div ref={box} className="fleet-list" role="feed" aria-label={t("fleet.title")} style={{ height: count * size }}>
      {ids.length <= ALL_RENDERED ? (
        Array.from({ length: count }, (_, index) => renderLine({ index, start: index * size }))
      ) : (
        <Suspense>
          <VirtualLines count={count} size={size} top={top}>
            {renderLine}
          </VirtualLines>
        </Suspense>
      )}
    </div>
  );
}

function layoutOf(view: FleetView, width: number, count: number) {
  if (view === "list") {
    const { rowHeight, phoneRowHeight, phoneWidth, gap } = LIST;
    return { columns: 1, rowHeight: width < phoneWidth ? phoneRowHeight : rowHeight, gap };
  }
  const { minCardWidth, maxCardWidth, gap, pictureRatio, bodyHeight, maxColumns } = GRID;
  const fitting = (cardWidth: number): number => Math.max(1, Math.floor((width + gap) / (cardWidth + gap)));
  // A few cameras fill the width, as far as a card should become wider.
  const columns = Math.min(maxColumns, fitting(minCardWidth), Math.max(count, Math.ceil(width / maxCardWidth)));
  const cardWidth = (width - gap * (columns - 1)) / columns;
  return { columns, rowHeight: Math.round(cardWidth * pictureRatio) + bodyHeight, gap };
}

/** The width of an element, and its distance from the top of the document. */
function useBox(element: RefObject<HTMLElement | null>): { width: number; top: number } {
  const [box, setBox] = useState({ width: 0, top: 0 });
  useLayoutEffect(() => {
    const { current } = element;
    if (current === null) return;
    const measure = (): void => {
      const { width, top } = current.getBoundingClientRect();
      const next = { width, top: Math.round(top + scrollY) };
      setBox((before) => (before.width === next.width && before.top === next.top ? before : next));
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(current);
    // What is above the list may become higher, such as the banner of a lost connection.
    observer.observe(document.body);
    return () => observer.disconnect();
  }, [element]);
  return box;
}
