import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type ReactNode, useEffect } from "react";
import { ScrollingContext } from "./fleet-picture.tsx";

/** A row of the fleet. */
export interface Line {
  index: number;
  /** The distance from the top of the list, pixels. */
  start: number;
}

interface VirtualLinesProps {
  /** The number of rows. */
  count: number;
  /** The height of a row with the gap below it, pixels. */
  size: number;
  /** The distance of the list from the top of the document, pixels. */
  top: number;
  children: (line: Line) => ReactNode;
}

/** The number of rows that are rendered above the window, and below it. */
const OVERSCAN = 3;

/** The rows near the window. */
export default function VirtualLines({ count, size, top, children }: VirtualLinesProps): ReactNode {
  const rows = useWindowVirtualizer({
    ...{ count, overscan: OVERSCAN, scrollMargin: top },
    estimateSize: () => size,
    // Renders with React's next frame. A synchronous rendering in each scroll event costs frames.
    useFlushSync: false,
  });
  useEffect(() => {
    if (size > 0) rows.measure();
  }, [rows, size]);
  return (
    <ScrollingContext value={rows.isScrolling}>
      {rows.getVirtualItems().map(({ index, start }) => children({ index, start: start - top }))}
    </ScrollingContext>
  );
}
