import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { timestampSchema } from "../../../contract/events.ts";
import { type AuditLine, type AuditPage, newestFirst } from "../../auth/recent-audit.ts";
import { answerNodes, askNodes } from "../../cluster/ask.ts";
import { adminOf } from "../callers.ts";
import { readQuery } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const MAX_PAGE_LINES = 200;
const DEFAULT_PAGE_LINES = 100;
const QUESTION = "audit";

const logSchema = z.enum(["access", "traffic"]);
const cursorSchema = z.string().max(64);
const querySchema = z.strictObject({
  /** `access`: logins, refusals, and changes. `traffic`: commands, broadcasts, and notes about alerts. */
  log: logSchema.default("access"),
  limit: z.coerce.number().int().min(1).max(MAX_PAGE_LINES).default(DEFAULT_PAGE_LINES),
  /** The cursor in `next` of the previous page. */
  before: cursorSchema.optional(),
});
const lineSchema = z.object({
  ...{ id: z.string(), time: timestampSchema, action: z.string(), who: z.string() },
  ...{ address: z.string().optional(), target: z.string(), outcome: z.string() },
});
/** A question and its answer between two nodes. */
const questionSchema = z.object({ log: logSchema, limit: z.number(), before: cursorSchema.nullable() });
const answerSchema = z.array(lineSchema);

const LIST: RouteDescription = {
  ...{ group: "The audit log", summary: "The newest lines of the audit log of all nodes", query: querySchema },
  permissions: ["admin"],
  responses: {
    200: {
      is: "A page, newest first",
      json: z.object({
        lines: z.array(lineSchema),
        next: z.string().optional().describe("The path of the next page"),
        silent_nodes: z.array(z.string()).optional().describe("Nodes that did not answer in time"),
      }),
    },
  },
};

/** `GET /audit`, over all nodes: for admins. */
export function auditRoutes(server: FastifyInstance, services: Services): void {
  const { audit, callers, cluster } = services;
  const linesFor = ({ log, limit, before }: z.output<typeof questionSchema>) =>
    audit.recent(log, { limit, before: before ?? undefined }).map(jsonOf);
  const end = answerNodes(cluster, QUESTION, (about) => {
    const asked = questionSchema.safeParse(about);
    return asked.success ? linesFor(asked.data) : [];
  });
  server.addHook("onClose", async () => end());

  server.get("/audit", described(LIST), async (request) => {
    adminOf(callers, request);
    const { log, limit, before } = readQuery(querySchema, request);
    // One more than the page has, to know whether there is a next page.
    const asked: AuditPage = { limit: limit + 1, before };
    const { given, missing } = await askNodes(cluster, QUESTION, { log, limit: limit + 1, before: before ?? null });
    const others = [...given.values()].flatMap((answer) => answerSchema.safeParse(answer).data ?? []);
    const found = newestFirst([...audit.recent(log, asked), ...others], asked);
    const lines = found.slice(0, limit);
    const next = found.length > limit ? `/audit?log=${log}&limit=${limit}&before=${lines.at(-1)?.id}` : undefined;
    return {
      lines,
      ...(next === undefined ? {} : { next }),
      ...(missing.length === 0 ? {} : { silent_nodes: missing }),
    };
  });
}

function jsonOf({ address, ...line }: AuditLine) {
  return { ...line, ...(address === undefined ? {} : { address }) };
}
