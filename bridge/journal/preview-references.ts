import type { LoggedPublication, PublicationPage } from "../../platform/publication-log.ts";

/** A page of the log ends once its pictures have this many bytes. */
const MAX_PAGE_BYTES = 1024 * 1024;

/** Names a stored preview. Publications of previews are stored with this name instead of the picture. */
export interface PreviewReference {
  camera: string;
  capture: string;
  etag: string;
}

/** The stored previews, as far as readers of the log need them. */
export interface ReferencedPreviews {
  newest(cameras: readonly string[]): Promise<ReadonlyMap<string, Pick<PreviewReference, "capture" | "etag">>>;
  /** Undefined when the preview does not exist. */
  read(camera: string, capture: string): Promise<{ preview: Pick<PreviewReference, "etag">; jpeg: Buffer } | undefined>;
}

export function encodeReference({ camera, capture, etag }: PreviewReference): string {
  return JSON.stringify([camera, capture, etag]);
}

/** Undefined for a reference that this version does not know. */
function parseReference(reference: string): PreviewReference | undefined {
  try {
    const [camera, capture, etag]: unknown[] = JSON.parse(reference);
    const isKnown = typeof camera === "string" && typeof capture === "string" && typeof etag === "string";
    return isKnown ? { camera, capture, etag } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Puts pictures into publications that name previews. A publication whose preview is no longer the newest of its camera
 * is left out: a subscriber who was away needs only the newest.
 * @returns the page, or its beginning if the pictures are large
 * @throws the error of the previews' store
 */
export async function withPictures(
  page: PublicationPage,
  previews: ReferencedPreviews | undefined,
): Promise<PublicationPage> {
  if (page.publications.every(({ reference }) => reference === undefined)) return page;
  const newest = await newestOf(page.publications, previews);
  const publications: LoggedPublication[] = [];
  let bytes = 0;
  for (const publication of page.publications) {
    if (publication.reference === undefined) {
      publications.push(publication);
      continue;
    }
    const reference = newest.get(publication);
    if (reference === undefined) continue;
    if (bytes >= MAX_PAGE_BYTES) return { ...page, publications, next: publication.position - 1 };
    const found = await previews?.read(reference.camera, reference.capture);
    // Replaced since it was looked up.
    if (found?.preview.etag !== reference.etag) continue;
    bytes += found.jpeg.length;
    publications.push({ ...publication, payload: found.jpeg });
  }
  return { ...page, publications };
}

/** The publications that name the newest preview of a camera. @throws the error of the previews' store */
export async function newestOf(
  publications: readonly LoggedPublication[],
  previews: ReferencedPreviews | undefined,
): Promise<ReadonlyMap<LoggedPublication, PreviewReference>> {
  const references = referencesIn(publications);
  if (references.size === 0) return references;
  const cameras = new Set([...references.values()].map(({ camera }) => camera));
  const newest = await previews?.newest([...cameras]);
  for (const [publication, { camera, capture, etag }] of references) {
    const found = newest?.get(camera);
    if (found?.capture !== capture || found.etag !== etag) references.delete(publication);
  }
  return references;
}

function referencesIn(publications: readonly LoggedPublication[]): Map<LoggedPublication, PreviewReference> {
  const references = new Map<LoggedPublication, PreviewReference>();
  for (const publication of publications) {
    if (publication.reference === undefined) continue;
    const reference = parseReference(publication.reference);
    if (reference !== undefined) references.set(publication, reference);
  }
  return references;
}
