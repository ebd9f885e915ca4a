import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { clockJumpSchema, timestampSchema } from "../../../contract/events.ts";
import { adminOf, auditedAdmin } from "../callers.ts";
import { readBody } from "../request-body.ts";
import { described, type RouteDescription } from "../route-description.ts";
import type { Services } from "../services.ts";

const acceptSchema = z.strictObject({
  /** True: the server was off for the length of the jump, so all ages grow by it. False: the clock was corrected. */
  time_passed: z.boolean(),
});
const viewSchema = z.object({
  system: timestampSchema.describe("The system's clock"),
  own: timestampSchema.describe("The server's own clock"),
  jump: clockJumpSchema.optional().describe("An unconfirmed jump of the system's clock"),
});

const common = { group: "The server's clock", permissions: ["admin"] };
const VIEW: RouteDescription = {
  ...{ ...common, summary: "The server's own clock" },
  responses: { 200: { is: "Both clocks", json: viewSchema } },
};
const ACCEPT: RouteDescription = {
  ...{ ...common, summary: "Confirms a jump of the system's clock", body: acceptSchema },
  responses: {
    200: {
      is: "Both clocks, and the confirmed jump",
      json: viewSchema.extend({ confirmed: clockJumpSchema.optional() }),
    },
  },
};

/** `GET /clock` and `POST /clock/accept`: for admins. */
export function clockRoutes(server: FastifyInstance, services: Services): void {
  const { callers, clock } = services;
  server.get("/clock", described(VIEW), async (request) => {
    adminOf(callers, request);
    return view();
  });

  server.post("/clock/accept", described(ACCEPT), async (request) => {
    const { record } = auditedAdmin(services, request);
    const { time_passed: timePassed } = readBody(acceptSchema, request.body);
    const confirmed = await clock.accept({ timePassed });
    const jump = confirmed === undefined ? "no jump" : `${confirmed.ahead_seconds} s, time passed: ${timePassed}`;
    record("clock.accept", "clock", jump);
    return { ...view(), ...(confirmed === undefined ? {} : { confirmed }) };
  });

  function view() {
    const { jump } = clock;
    return {
      system: new Date().toISOString(),
      own: new Date(clock.now()).toISOString(),
      ...(jump === undefined ? {} : { jump }),
    };
  }
}
