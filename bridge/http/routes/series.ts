import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { idSchema } from "../../../contract/ids.ts";
import { readSeries, SERIES_FIELDS, type Series, UNITS } from "../../journal/archive/archive.ts";
import { demand } from "../callers.ts";
import { badRequest } from "../errors.ts";
import type { HistoryTurns } from "../history-turns.ts";
import { readPath, readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const DAY_MS = 86_400_000;
const MAX_RANGE_DAYS = 366;
const MAX_POINTS = 1_000;
const DEFAULT_POINTS = 300;

const pathSchema = z.object({ id: idSchema });
const time = timestampSchema.transform((text) => Date.parse(text));
const fieldSchema = z.enum(SERIES_FIELDS);
const querySchema = z.strictObject({
  /** Names, separated by commas. Default: all. */
  fields: z
    .string()
    .transform((text) => [...new Set(text.split(","))])
    .refine((names) => names.every((name) => fieldSchema.safeParse(name).success), {
      message: `must be some of ${SERIES_FIELDS.join(",")}`,
    })
    .transform((names) => fieldSchema.array().parse(names))
    .optional(),
  /** Default: a day before `to`. */
  from: time.optional(),
  /** Default: now. */
  to: time.optional(),
  /** The most points of a field. Default 300. */
  points: z.coerce.number().int().min(1).max(MAX_POINTS).optional(),
});

const numbers = z.array(z.number());
const columnsSchema = z.object({
  unit: z.string(),
  at: numbers.describe("The begin of each bucket that has measurements, seconds since 1970"),
  ...{ min: numbers, mean: numbers, max: numbers },
});
const seriesSchema = z.object({
  camera: z.string(),
  from: timestampSchema,
  to: timestampSchema,
  bucket_s: z.number().describe("The length of a bucket. The first begins at `from`"),
  series: z.object(Object.fromEntries(SERIES_FIELDS.map((field) => [field, columnsSchema.optional()]))),
  gaps: z.array(
    z.object({
      ...{ from: timestampSchema, to: timestampSchema.optional() },
      reason: z.enum(["not_kept", "trimmed", "damaged", "epoch_changed", "dropped", "missing"]),
      count: z.number().optional().describe("The number of lost messages, if known"),
    }),
  ),
});
const SERIES: RouteDescription = {
  ...{ group: "History", summary: "Measurements of a camera over time" },
  ...{ permissions: ["dashboard:read", "camera:read", "camera:{id}:read"], path: pathSchema, query: querySchema },
  responses: { 200: { is: "At most `points` points of each field, and the gaps", json: seriesSchema } },
  errors: ["429 limit", "503 archive_unavailable"],
};

/** `GET /cameras/{id}/series`: the archive's measurements for charts, from a day to a year. */
export function seriesRoutes(server: FastifyInstance, services: Services, turns: HistoryTurns): void {
  const { callers, archive } = services;

  server.get("/cameras/:id/series", described(SERIES), async (request, reply) => {
    const { id: camera } = readPath(pathSchema, request);
    const { name, grants } = callers.of(request);
    demand(grants.seesCamera(camera), `camera:${camera}:read`);
    const now = Date.now();
    const query = readQuery(querySchema, request);
    const { fields = SERIES_FIELDS, to = now, from = to - DAY_MS, points = DEFAULT_POINTS } = query;
    if (from >= to || to - from > MAX_RANGE_DAYS * DAY_MS)
      throw badRequest(`\`from\` in the query must be before \`to\`, by at most ${MAX_RANGE_DAYS} days`);
    turns.enter(name, reply.raw);
    // Each part is a turn of its own, so that a series of a year does not delay the short queries of others.
    const inTurns = {
      readings: (query: Parameters<typeof archive.readings>[0]) =>
        turns.query(name, reply.raw, () => archive.readings(query)),
      coverage: (query: Parameters<typeof archive.coverage>[0]) =>
        turns.query(name, reply.raw, () => archive.coverage(query)),
    };
    const series = await readSeries(inTurns, { camera, fields, from, to, points }, now);
    return { camera, from: textOf(from), to: textOf(to), ...listed(series) };
  });
}

function listed({ bucketMs, points, gaps }: Series) {
  const series = [...points].map(([field, found]) => {
    const column = (name: "min" | "mean" | "max") => found.map((point) => rounded(point[name]));
    const at = found.map((point) => point.at / 1000);
    return [field, { unit: UNITS[field], at, min: column("min"), mean: column("mean"), max: column("max") }];
  });
  return {
    bucket_s: bucketMs / 1000,
    series: Object.fromEntries(series),
    gaps: gaps.map(({ from, to, ...gap }) => ({ from: textOf(from), ...(to && { to: textOf(to) }), ...gap })),
  };
}

const textOf = (ms: number) => new Date(ms).toISOString();

/** Five digits are more than a chart shows, and half as long as the number. */
const rounded = (value: number) => Number(value.toPrecision(5));
