/** The widths of the server's thumbnails, pixels. */
const WIDTHS = [160, 320, 640] as const;
export type PictureWidth = (typeof WIDTHS)[number];

/** On a slow link, a blurred picture now is better than a sharp one in ten seconds. */
const MAX_SLOW_WIDTH = 320;

interface Link {
  saveData?: boolean;
  /** As the browser estimates: `slow-2g`, `2g`, `3g` or `4g`. */
  effectiveType?: string;
}

/**
 * The smallest thumbnail that fills a box. Undefined: the picture itself.
 * @param boxPixels the width of the box, CSS pixels
 */
export function pictureWidth(
  boxPixels: number,
  { pixelRatio = devicePixelRatio, link = linkOf(navigator) }: { pixelRatio?: number; link?: Link } = {},
): PictureWidth | undefined {
  const isSlow = link.saveData === true || /2g/.test(link.effectiveType ?? "");
  const wanted = isSlow ? Math.min(boxPixels, MAX_SLOW_WIDTH) : boxPixels * pixelRatio;
  return WIDTHS.find((width) => width >= wanted);
}

/** Not every browser knows the link. */
function linkOf(from: object): Link {
  return "connection" in from ? Object(from.connection) : {};
}
