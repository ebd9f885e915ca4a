import type { ReactNode } from "react";
import { encode } from "uqr";

/** A QR code (ISO/IEC 18004). Dark on white in both themes, because some readers cannot read white on dark. */
export function QrCode({ content, label }: { content: string; label: string }): ReactNode {
  const { data, size } = encode(content, { ecc: "L", border: 3 });
  const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  return (
    <svg className="qr-code" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shapeRendering="crispEdges">
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#000" />
    </svg>
  );
}
