import { attacks } from "./attacks.ts";
import type { Target } from "./server.ts";

/**
 * The process of an abuser. Its parent process sends it one message with the attack and the target. The process runs
 * until it is killed.
 */
process.on("message", (text: string) => {
  const { name, target }: { name: string; target: Target } = JSON.parse(text);
  const attack = attacks.find((one) => one.name === name);
  attack?.abuse(target).then(
    () => process.send?.("done"),
    (error: unknown) => process.send?.(`failed: ${error instanceof Error ? error.stack : String(error)}`),
  );
});
process.on("disconnect", () => process.exit());
