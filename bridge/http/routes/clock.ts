import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { adminOf } from "../callers.ts";
import { readBody } from "../request-body.ts";
import type { Services } from "../services.ts";

const acceptSchema = z.strictObject({
  /**
   * True: the server stood still for the length of the jump, so everything gets older by that length. False: the clock
   * was corrected.
   */
  time_passed: z.boolean(),
});

/** `GET /clock` and `POST /clock/accept`: for admins. */
export function clockRoutes(server: FastifyInstance, { callers, clock, audit, addressOf }: Services): void {
  server.get("/clock", async (request) => {
    adminOf(callers, request);
    return view();
  });

  server.post("/clock/accept", async (request) => {
    const caller = adminOf(callers, request);
    const { time_passed: timePassed } = readBody(acceptSchema, request.body);
    const confirmed = await clock.accept({ timePassed });
    const outcome = confirmed === undefined ? "no jump" : `${confirmed.ahead_seconds} s, time passed: ${timePassed}`;
    const address = addressOf(request.raw);
    audit.record({ action: "clock.accept", who: caller.name, address, target: "clock", outcome });
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
