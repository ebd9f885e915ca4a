import { createServer } from "node:net";

/**
 * Below those that the system gives to connections that ask for none (32768 and above, on Linux). From there a port could
 * become a connection's, of another test, before a program listens on it or while it is away; and a client that tries
 * again and again to reach a program which is away could come to be connected to itself.
 */
const [LOWEST, HIGHEST] = [15_000, 32_767];

/** A port of 127.0.0.1 that nobody listens on, for a program that must come back to where it was. */
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
