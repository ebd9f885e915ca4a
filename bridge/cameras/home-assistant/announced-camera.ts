import { z } from "zod";
import type { Json } from "../../cluster/cluster.ts";
import { OPTIONAL_VALUES, type OptionalValue } from "./announcement.ts";

export interface AnnouncedCamera {
  /** Whether the document is stored: the topics of the camera may be retained. */
  isStored: boolean;
  /** When the newest picture was taken, milliseconds since 1970; undefined until it is known. */
  lastCapture: number | undefined;
  /** The etag of the published picture. */
  picture: string | undefined;
  /** When this node has published a picture. */
  pictureAt: number;
  readonly known: Set<OptionalValue>;
  /** What this node has published, by topic. */
  readonly published: Map<string, string>;
}

/** Where a camera is announced. */
interface Place {
  root: string;
  prefix: string;
}

/** The field names are on disk and in Redis: they must not change. */
const savedSchema = z.object({
  root: z.string(),
  prefix: z.string(),
  lastCapture: z.number().optional(),
  picture: z.string().optional(),
  known: z.array(z.string()),
});

export function newCamera(): AnnouncedCamera {
  return {
    ...{ isStored: false, lastCapture: undefined, picture: undefined, pictureAt: Number.NEGATIVE_INFINITY },
    ...{ known: new Set(), published: new Map() },
  };
}

export function placeIn(value: Json): Place | undefined {
  return savedSchema.safeParse(value).data;
}

export function restoreCamera(value: Json): AnnouncedCamera | undefined {
  const saved = savedSchema.safeParse(value).data;
  if (saved === undefined) return undefined;
  const known = new Set(OPTIONAL_VALUES.filter((name) => saved.known.includes(name)));
  return { ...newCamera(), isStored: true, lastCapture: saved.lastCapture, picture: saved.picture, known };
}

export function saveCamera({ lastCapture, picture, known }: AnnouncedCamera, place: Place): Json {
  return {
    ...{ ...place, known: [...known] },
    ...(lastCapture === undefined ? {} : { lastCapture }),
    ...(picture === undefined ? {} : { picture }),
  };
}
