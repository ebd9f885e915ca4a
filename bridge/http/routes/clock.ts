import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { adminOf, auditedAdmin } from "../callers.ts";
import { readBody } from "../request-body.ts";
import type { Services } from "../services.ts";

const acceptSchema = z.strictObject({
  /** True: the server was off for the length of the jump, so all ages grow by it. False: the clock was corrected. */
  time_passed: z.boolean(),
});

/** `GET /clock` and `POST /clock/accept`: for admins. */
export function clockRoutes(server: FastifyInstance, services: Services): void {
  const { callers, clock } = services;
  server.get("/clock", async (request) => {
    adminOf(callers, request);
    return view();
  });

  server.post("/clock/accept", async (request) => {
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
