import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import { type Caller, demand } from "../callers.ts";
import { notFound } from "../errors.ts";
import { readPath } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const pathSchema = z.object({
  id: idSchema,
  /** The last part of the film's address. It begins with the id of the camera and a dot. */
  film: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,119}\.mp4$/, "must be the name of a film, such as north.1080p-7f3a.mp4"),
});
type FilmName = z.infer<typeof pathSchema>;

const group = "Cameras and previews";
const permissions = ["dashboard:read", "camera:read", "camera:{id}:read"];
const LINK: RouteDescription = {
  ...{ group, summary: "Makes a link to a film", permissions, path: pathSchema },
  responses: {
    200: {
      is: "The link",
      json: z.object({
        token: z.string().describe("Opens this film only: append `?token=` to the address of the film"),
        expires_at: timestampSchema,
      }),
    },
  },
  errors: ["404 not_found"],
};
const MAY_WATCH: RouteDescription = {
  ...{ group, summary: "Whether a token may watch a film", permissions, path: pathSchema },
  responses: { 204: { is: "The token may watch the film" } },
  errors: ["404 not_found"],
};

/** A film can be watched, paused and continued for this long after a click. */
const LINK_TTL_SECONDS = 3600;
/** The user of the tokens in links. An admin can revoke all links by this user id. */
const LINK_USER = "film-link";

/**
 * `POST /cameras/{id}/films/{film}/link` and `GET /cameras/{id}/films/{film}/access`. A browser that plays a film sends
 * no `Authorization` header, so the address contains a token. Such addresses end up in logs and are passed on, so this
 * token opens one film and nothing else. The processing service, which has the film, asks here who may watch it.
 */
export function filmRoutes(server: FastifyInstance, services: Services): void {
  const { callers, authority, http } = services;

  server.post("/cameras/:id/films/:film/link", described(LINK), async (request) => {
    const name = readPath(pathSchema, request);
    demandCamera(callers.of(request), name);
    const { token, expiresAt } = authority.mint({
      userId: LINK_USER,
      permissions: [permissionOf(name)],
      ttlSeconds: Math.min(LINK_TTL_SECONDS, http.tokenTtlSeconds),
    });
    return { token, expires_at: new Date(expiresAt).toISOString() };
  });

  server.get("/cameras/:id/films/:film/access", described(MAY_WATCH), async (request, reply) => {
    const name = readPath(pathSchema, request);
    const caller = callers.of(request);
    if (!caller.grants.permissions.includes(permissionOf(name))) demandCamera(caller, name);
    return reply.code(204).send();
  });
}

/** @throws {RequestError} 403, or 404 if the name is that of another camera's film */
function demandCamera({ grants }: Caller, { id, film }: FilmName): void {
  demand(grants.seesCamera(id), `camera:${id}:read`);
  if (!film.startsWith(`${id}.`)) throw notFound(`There is no film ${film} of the camera ${id}`);
}

/** The permission to watch one film. A request for a token may not name this permission. */
function permissionOf({ film }: FilmName): string {
  return `film:${film}`;
}
