import { z } from "zod";
import { startSimulator } from "../../device/simulator.ts";
import { openLog } from "../logger.ts";

const cameraSchema = z.object({
  ...{ id: z.string(), secret: z.string(), name: z.string() },
  ...{ lat: z.number(), lon: z.number(), timezone: z.string() },
});

/** The first message that {@link file://./simulator-process.ts} sends to this program. */
const startMessageSchema = z.object({
  brokerUrl: z.string(),
  topicRoot: z.string(),
  cameras: z.array(cameraSchema),
  service: z.object({ id: z.string(), secret: z.string() }),
  captureIntervalS: z.number(),
  width: z.number(),
  dataPath: z.string(),
  logLevel: z.string(),
  logFormat: z.enum(["json", "text"]),
});
export type SimulatorStartMessage = z.infer<typeof startMessageSchema>;

// The backend has exited or crashed. Exits at once: the server has ended as well, and the outboxes are on disk.
process.once("disconnect", () => process.exit(0));
if (!process.connected) process.exit(0);
// Ignores SIGINT, which Ctrl-C sends to the whole process group: the backend stops this process with SIGTERM.
process.on("SIGINT", () => {});
process.once("message", async (message) => {
  const { logLevel, logFormat, ...options } = startMessageSchema.parse(message);
  const logger = (await openLog({ level: logLevel, format: logFormat })).child({ part: "simulator" });
  const simulator = await startSimulator({ ...options, logger });
  process.once("SIGTERM", () => void simulator.stop().then(() => process.exit(0)));
  // Ignores an error of sending: the backend has exited, and the event `disconnect` ends this process.
  process.send?.("started", () => {});
});
