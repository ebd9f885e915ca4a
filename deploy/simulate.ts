import { pino } from "pino";
import { z } from "zod";
import { startSimulator } from "../device/simulator.ts";

/** What {@link file://./simulator-process.ts} tells this program, as its first message. */
const orderSchema = z.object({
  brokerUrl: z.string(),
  topicRoot: z.string(),
  cameras: z.array(
    z.object({
      id: z.string(),
      secret: z.string(),
      lat: z.number(),
      lon: z.number(),
      timezone: z.string(),
      name: z.string(),
    }),
  ),
  service: z.object({ id: z.string(), secret: z.string() }),
  captureIntervalS: z.number(),
  width: z.number(),
  dataPath: z.string(),
  logLevel: z.string(),
});
export type SimulatorOrder = z.infer<typeof orderSchema>;

// The backend is gone, whatever became of it: nobody is left to hear a goodbye, and the outboxes outlive this end.
process.once("disconnect", () => process.exit(0));
if (!process.connected) process.exit(0);
// Ctrl-C reaches the whole group of processes; the backend ends this one in its turn.
process.on("SIGINT", () => {});
process.once("message", async (message) => {
  const { logLevel, ...options } = orderSchema.parse(message);
  const logger = pino({ level: logLevel, base: { part: "simulator" } }, pino.destination({ dest: 2, sync: true }));
  const simulator = await startSimulator({ ...options, logger });
  process.once("SIGTERM", () => void simulator.stop().then(() => process.exit(0)));
  process.send?.("started");
});
