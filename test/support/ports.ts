import { createServer } from "node:net";

/**
 * Ports below the ephemeral range (from 32768 on Linux). An ephemeral port could be taken by a connection of another
 * test before the program listens on it or while the program is down. A client that retries such a port could even
 * connect to itself.
 */
const [LOWEST, HIGHEST] = [15_000, 32_767];

/** A free port of 127.0.0.1 for a program that must return to the same port. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = LOWEST + Math.floor(Math.random() * (HIGHEST + 1 - LOWEST));
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
