import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { type PreviewList, previewListSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import type { PreviewCursor, StoredPreview } from "../../previews/preview-store.ts";
import { LATEST_PICTURE_ROUTE, PICTURES_ROUTE, picturesUrl, pictureUrl } from "../../previews/previews.ts";
import { demand } from "../callers.ts";
import { notFound } from "../errors.ts";
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
const querySchema = z
  .object({ limit: count.optional(), before: cursorSchema.optional(), frames: count.optional() })
  .refine(({ frames, limit, before }) => frames === undefined || (limit ?? before) === undefined, {
    message: "must not have limit or before together with frames, which returns all previews at once",
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
const LATEST: RouteDescription = {
  ...{ group, summary: "The newest preview", permissions, path: cameraSchema },
  ...{ responses: PICTURE, errors: ["404 not_found"] },
};
const LIST: RouteDescription = {
  ...{ group, summary: "Lists the previews", permissions, path: cameraSchema, query: querySchema },
  responses: { 200: { is: "A page of previews, newest first", json: previewListSchema } },
};
const ONE: RouteDescription = {
  ...{ group, summary: "One preview", permissions, path: fileSchema },
  ...{ responses: PICTURE, errors: ["404 not_found"] },
};

/** `GET /cameras/{id}/latest.jpg`, `GET /cameras/{id}/previews` and `GET /cameras/{id}/previews/{capture}.jpg`. */
export function previewRoutes(server: FastifyInstance, services: Services): void {
  const { callers, previews } = services;

  server.get(LATEST_PICTURE_ROUTE, described(LATEST), async (request, reply) => {
    const { id } = readPath(cameraSchema, request);
    demand(callers.of(request).grants.seesCamera(id), `camera:${id}:read`);
    // Clients may keep the picture but must revalidate it each time. The etag makes this cheap.
    reply.header("cache-control", "private, no-cache");
    const newest = (await previews.newest([id])).get(id);
    if (newest !== undefined && isHeld(request, newest.etag)) return unchanged(reply, newest);
    const found = await previews.read(id);
    if (found === undefined) throw notFound(`There is no picture of the camera ${id} yet`);
    return picture(reply, found);
  });

  server.get(PICTURES_ROUTE, described(LIST), async (request): Promise<PreviewList> => {
    const { id } = readPath(cameraSchema, request);
    demand(callers.of(request).grants.seesCamera(id), `camera:${id}:read`);
    const query = readQuery(querySchema, request);
    const limit = query.limit ?? DEFAULT_PREVIEWS_PER_PAGE;
    const page =
      query.frames === undefined
        ? await previews.list(id, { after: query.before, limit })
        : await previews.overview(id, query.frames);
    const last = page.previews.at(-1);
    const more = query.frames === undefined && page.previews.length === limit && last !== undefined;
    return {
      camera: id,
      total: page.total,
      previews: page.previews.map((preview) => listed(id, preview)),
      ...(more ? { next: `${picturesUrl(id)}?limit=${limit}&before=${last.takenAt}.${last.capture}` } : {}),
    };
  });

  server.get(`${PICTURES_ROUTE}/:file`, described(ONE), async (request, reply) => {
    const { id, file: capture } = readPath(fileSchema, request);
    demand(callers.of(request).grants.seesCamera(id), `camera:${id}:read`);
    const found = await previews.read(id, capture);
    if (found === undefined) throw notFound(`There is no picture ${capture} of the camera ${id}, or not any more`);
    // The picture never changes. A browser may use its copy only for requests with the same token.
    reply.header("cache-control", "private, max-age=86400, immutable").header("vary", "Authorization, Origin");
    if (isHeld(request, found.preview.etag)) return unchanged(reply, found.preview);
    return picture(reply, found);
  });
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

function picture(reply: FastifyReply, { preview, jpeg }: { preview: StoredPreview; jpeg: Buffer }) {
  // If the capture's name has no time in it, `takenAt` is only the time of arrival.
  if (preview.takenAt !== preview.savedAt) reply.header(TAKEN_HEADER, new Date(preview.takenAt).toISOString());
  // Whatever bytes a camera sent, a browser must treat them as a picture.
  reply.header("content-disposition", `inline; filename="${preview.capture}.jpg"`).type("image/jpeg");
  const saved = new Date(preview.savedAt).toUTCString();
  return reply.header("etag", preview.etag).header("last-modified", saved).send(jpeg);
}

function unchanged(reply: FastifyReply, { etag }: StoredPreview) {
  return reply.code(304).header("etag", etag).send();
}

/** `If-None-Match`, compared weakly (RFC 9110 section 13.1.2). */
function isHeld({ headers }: FastifyRequest, etag: string): boolean {
  return (headers["if-none-match"] ?? "")
    .split(",")
    .some((part) => part.trim() === "*" || part.trim().replace(/^W\//, "") === etag);
}
