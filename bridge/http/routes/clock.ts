import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { demand } from "./callers.ts";
import { read } from "./request-body.ts";
import type { Services } from "./services.ts";

const acceptSchema = z.strictObject({
  /** The server stood still for that long: everything is older by it. False: the clock was only put right. */
  time_passed: z.boolean(),
});

/** `GET /clock`, `POST /clock/accept`: for the operator key or an admin. */
export function clockRoutes(server: FastifyInstance, { callers, clock, audit, addressOf }: Services): void {
  server.get("/clock", async (request) => {
    demand(callers.of(request).grants.admin, "admin");
    return view();
  });

  server.post("/clock/accept", async (request) => {
    const caller = callers.of(request);
    demand(caller.grants.admin, "admin");
    const { time_passed: timePassed } = read(acceptSchema, request.body);
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
