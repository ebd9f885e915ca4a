import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { type PreviewList, previewListSchema, timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import type { PreviewCursor, StoredPreview } from "../../previews/preview-store.ts";
import { LATEST_PICTURE_ROUTE, PICTURES_ROUTE, picturesUrl, pictureUrl } from "../../previews/previews.ts";
import {
  THUMBNAIL_WIDTHS,
  type ThumbnailSource,
  Thumbnails,
  type ThumbnailWidth,
  TooManyThumbnailsError,
} from "../../previews/thumbnails.ts";
import { demand } from "../callers.ts";
import { notFound, RequestError } from "../errors.ts";
import { readPath, readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const MAX_PREVIEWS_PER_PAGE = 500;
const DEFAULT_PREVIEWS_PER_PAGE = 100;

const cameraSchema = z.object({ id: idSchema });
const SUFFIX = ".jpg";
/** When the picture was taken, RFC 3339. `Last-Modified` is the time of its arrival. */
const TAKEN_HEADER = "x-taken-at";
const fileSchema = z.object({
  id: idSchema,
  file: z
    .string()
    .endsWith(SUFFIX, "must end with .jpg")
    .transform((file) => file.slice(0, -SUFFIX.length))
    .pipe(idSchema),
});
const count = z.coerce
  .number("must be a number")
  .int("must be a whole number")
  .min(1, "must be at least 1")
  .max(MAX_PREVIEWS_PER_PAGE, `must be at most ${MAX_PREVIEWS_PER_PAGE}`);
/** The end of a page: the time and the name of its last picture. */
const cursorSchema = z
  .string()
  .regex(/^\d{1,15}\.[a-z0-9][a-z0-9-]{0,62}$/, "must be the value that next has")
  .transform((text): PreviewCursor => {
    const [takenAt = "", capture = ""] = text.split(".");
    return { takenAt: Number(takenAt), capture };
  });
const time = timestampSchema.transform((text) => Date.parse(text));
const querySchema = z
  .object({
    ...{ limit: count.optional(), before: cursorSchema.optional(), frames: count.optional() },
    /** Times of capture, both inclusive. */
    ...{ from: time.optional(), to: time.optional() },
  })
  .refine(({ frames, limit, before }) => frames === undefined || (limit ?? before) === undefined, {
    message: "must not have limit or before together with frames, which returns all previews at once",
  });

const WIDTHS = THUMBNAIL_WIDTHS.map(String);
const sizeSchema = z.object({
  /** Pixels, for a thumbnail. Default: the picture itself. */
  width: z
    .enum(WIDTHS)
    .transform((text) => THUMBNAIL_WIDTHS.find((width) => String(width) === text))
    .optional(),
});

const group = "Cameras and previews";
const permissions = ["dashboard:read", "camera:read", "camera:{id}:read"];
const PICTURE: RouteDescription["responses"] = {
  200: {
    is: "The picture",
    types: ["image/jpeg"],
    headers: {
      ETag: "Changes with the picture",
      "Last-Modified": "When the picture arrived",
      "X-Taken-At": "When the picture was taken; absent if the capture id has no time",
    },
  },
  304: { is: "`If-None-Match` has the `ETag`" },
};
const PICTURE_ERRORS: RouteDescription["errors"] = ["404 not_found", "429 limit"];
const LATEST: RouteDescription = {
  ...{ group, summary: "The newest preview", permissions, path: cameraSchema, query: sizeSchema },
  ...{ responses: PICTURE, errors: PICTURE_ERRORS },
};
const LIST: RouteDescription = {
  ...{ group, summary: "Lists the previews", permissions, path: cameraSchema, query: querySchema },
  responses: { 200: { is: "A page of previews, newest first", json: previewListSchema } },
};
const ONE: RouteDescription = {
  ...{ group, summary: "One preview", permissions, path: fileSchema, query: sizeSchema },
  ...{ responses: PICTURE, errors: PICTURE_ERRORS },
};

/** `GET /cameras/{id}/latest.jpg`, `GET /cameras/{id}/previews` and `GET /cameras/{id}/previews/{capture}.jpg`. */
export function previewRoutes(server: FastifyInstance, services: Services): void {
  const { callers, previews } = services;
  const thumbnails = new Thumbnails();

  server.get(LATEST_PICTURE_ROUTE, described(LATEST), async (request, reply) => {
    const { id } = readPath(cameraSchema, request);
    const { name, grants } = callers.of(request);
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const { width } = readQuery(sizeSchema, request);
    // Clients may keep the picture but must revalidate it each time. The etag makes this cheap.
    reply.header("cache-control", "private, no-cache");
    const newest = (await previews.newest([id])).get(id);
    if (newest === undefined) throw notFound(`There is no picture of the camera ${id} yet`);
    return await sendPicture(request, reply, { camera: id, preview: newest, width, user: name });
  });

  server.get(PICTURES_ROUTE, described(LIST), async (request): Promise<PreviewList> => {
    const { id } = readPath(cameraSchema, request);
    demand(callers.of(request).grants.seesCamera(id), `camera:${id}:read`);
    const { limit = DEFAULT_PREVIEWS_PER_PAGE, frames, before, from, to } = readQuery(querySchema, request);
    const page =
      frames === undefined
        ? await previews.list(id, { after: before, limit, from, to })
        : await previews.overview(id, frames, { from, to });
    const last = page.previews.at(-1);
    const more = frames === undefined && page.previews.length === limit && last !== undefined;
    return {
      camera: id,
      total: page.total,
      previews: page.previews.map((preview) => listed(id, preview)),
      ...(more ? { next: nextPath(request, id, limit, last) } : {}),
    };
  });

  server.get(`${PICTURES_ROUTE}/:file`, described(ONE), async (request, reply) => {
    const { id, file: capture } = readPath(fileSchema, request);
    const { name, grants } = callers.of(request);
    demand(grants.seesCamera(id), `camera:${id}:read`);
    const { width } = readQuery(sizeSchema, request);
    const found = await previews.read(id, capture);
    if (found === undefined) throw notFound(`There is no picture ${capture} of the camera ${id}, or not any more`);
    // The picture never changes. A browser may use its copy only for requests with the same token.
    reply.header("cache-control", "private, max-age=86400, immutable").header("vary", "Authorization, Origin");
    return await sendPicture(request, reply, { camera: id, ...found, width, user: name });
  });

  async function sendPicture(request: FastifyRequest, reply: FastifyReply, wanted: WantedPicture) {
    const { camera, preview, width, user } = wanted;
    const etag = etagOf(preview, width);
    if (isHeld(request, etag)) return unchanged(reply, etag);
    const read = async () => wanted.jpeg ?? (await previews.read(camera, preview.capture))?.jpeg;
    const jpeg = width === undefined ? await read() : await thumbnailOf(user, { etag: preview.etag, read }, width);
    if (jpeg === undefined) throw notFound(`There is no picture ${preview.capture} of the camera ${camera} any more`);
    return picture(reply, preview, etag, jpeg);
  }

  async function thumbnailOf(user: string, source: ThumbnailSource, width: ThumbnailWidth) {
    try {
      return await thumbnails.of(user, source, width);
    } catch (error) {
      if (error instanceof TooManyThumbnailsError) throw new RequestError(429, "limit", `${error.message}: wait`);
      throw error;
    }
  }
}

interface WantedPicture {
  camera: string;
  preview: StoredPreview;
  /** Default: read when needed. */
  jpeg?: Buffer;
  width: ThumbnailWidth | undefined;
  user: string;
}

function etagOf({ etag }: StoredPreview, width: ThumbnailWidth | undefined): string {
  return width === undefined ? etag : `${etag.slice(0, -1)}-${width}"`;
}

/** The path of the next page: the same query with another cursor. */
function nextPath({ url }: FastifyRequest, id: string, limit: number, last: StoredPreview): string {
  const parameters = new URLSearchParams(url.split("?")[1]);
  parameters.set("limit", String(limit));
  parameters.set("before", `${last.takenAt}.${last.capture}`);
  return `${picturesUrl(id)}?${parameters}`;
}

function listed(camera: string, { capture, takenAt, etag, sizeBytes }: StoredPreview): PreviewList["previews"][number] {
  return {
    capture,
    taken_at: new Date(takenAt).toISOString(),
    url: pictureUrl(camera, capture),
    etag,
    size_bytes: sizeBytes,
  };
}

function picture(reply: FastifyReply, preview: StoredPreview, etag: string, jpeg: Buffer) {
  // If the capture's name has no time in it, `takenAt` is only the time of arrival.
  if (preview.takenAt !== preview.savedAt) reply.header(TAKEN_HEADER, new Date(preview.takenAt).toISOString());
  // Whatever bytes a camera sent, a browser must treat them as a picture.
  reply.header("content-disposition", `inline; filename="${preview.capture}.jpg"`).type("image/jpeg");
  const saved = new Date(preview.savedAt).toUTCString();
  return reply.header("etag", etag).header("last-modified", saved).send(jpeg);
}

function unchanged(reply: FastifyReply, etag: string) {
  return reply.code(304).header("etag", etag).send();
}

/** `If-None-Match`, compared weakly (RFC 9110 section 13.1.2). */
function isHeld({ headers }: FastifyRequest, etag: string): boolean {
  return (headers["if-none-match"] ?? "")
    .split(",")
    .some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
