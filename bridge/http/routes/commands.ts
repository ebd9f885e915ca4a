import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { ReplyCode } from "../../../contract/codes.ts";
import { commandRequestSchema, commandStatusSchema, FINAL_COMMAND_STATUSES } from "../../../contract/commands.ts";
import { idSchema } from "../../../contract/ids.ts";
import { memberText } from "../../../contract/json-text.ts";
import type { CommandUpdate } from "../../commands/pending-commands.ts";
import { demand } from "../callers.ts";
import { RequestError } from "../errors.ts";
import { perMinute } from "../protection.ts";
import { readBody, readPath, readQuery, textOfBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const paramsSchema = z.object({ id: idSchema });
const querySchema = z.object({
  /** Seconds to wait for the final status. The response has the status that the command has by then. */
  wait: z.coerce.number().min(0).max(60).default(10),
});
const bodySchema = commandRequestSchema.omit({ camera: true });
const updateSchema = z.object({
  command_id: z.string().optional().describe("Absent while the command waits"),
  camera: idSchema,
  status: z.union([z.literal("queued"), commandStatusSchema]),
  result: z.unknown().optional().describe("From the camera"),
  error: z.string().optional().describe("Why the command failed"),
  code: z.enum(ReplyCode).optional().describe("A reply code, unless the camera itself ended the command"),
});

const SEND: RouteDescription = {
  ...{
    group: "Commands",
    summary: "Sends a command to a camera",
    permissions: ["camera:control", "camera:{id}:control"],
  },
  ...{ path: paramsSchema, query: querySchema, body: bodySchema },
  responses: {
    200: { is: "The final status", json: updateSchema },
    202: { is: "The status after the seconds of `wait`", json: updateSchema },
  },
  errors: ["409 device_offline", "429 rate_limited", "429 limit"],
};

/** `POST /cameras/{id}/commands`: 200 with the final status, or 202 with the status after `?wait=` seconds. */
export function commandRoutes(server: FastifyInstance, services: Services): void {
  const { callers, relay, http, addressOf } = services;

  server.post(
    "/cameras/:id/commands",
    described(SEND, perMinute(http.maxCommandsPerMinute)),
    async (request, reply) => {
      const caller = callers.of(request);
      const { id: camera } = readPath(paramsSchema, request);
      demand(caller.grants.canCommand(camera), `camera:${camera}:control`);
      const { wait } = readQuery(querySchema, request);
      const command = readBody(bodySchema, request.body);
      const argsText = memberText(textOfBody(request.body) ?? "", "args");
      const from = { who: caller.name, address: addressOf(request.raw) };
      const update = await new Promise<CommandUpdate | undefined>((resolve) => {
        let newest: CommandUpdate | undefined;
        const timer = setTimeout(() => resolve(newest), wait * 1000);
        relay.run({ ...command, argsText, camera, from }, (next) => {
          newest = next;
          if (!FINAL_COMMAND_STATUSES.has(next.status)) return;
          clearTimeout(timer);
          resolve(next);
        });
      });
      if (update === undefined) return reply.code(202).send({ camera, status: "queued" });
      throwIfNotSent(update);
      return reply.code(FINAL_COMMAND_STATUSES.has(update.status) ? 200 : 202).send(update);
    },
  );
}

function throwIfNotSent({ code, error = "The command was not sent", command_id }: CommandUpdate): void {
  if (code === ReplyCode.badRequest) throw new RequestError(400, "bad_request", error);
  if (code === ReplyCode.rateLimited) throw new RequestError(429, "rate_limited", error);
  if (code === ReplyCode.limit) throw new RequestError(429, "limit", error);
  if (code === ReplyCode.deviceOffline) throw new RequestError(409, "device_offline", error, { command_id });
}
