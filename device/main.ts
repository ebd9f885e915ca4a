import { pino } from "pino";
import { ConfigurationError } from "../contract/environment.ts";
import { startCamera } from "./agent.ts";
import { createCamera } from "./cameras/create-camera.ts";
import { type DeviceConfig, loadConfig } from "./config.ts";

const config = loadConfigOrExit();
const logger = pino({ level: config.logLevel });
const agent = await startCamera({ config: config.camera, camera: createCamera(config), logger });
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => void agent.stop().then(() => process.exit(0)));
}

function loadConfigOrExit(): DeviceConfig {
  try {
    return loadConfig();
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}
