import { once } from "node:events";
import { createServer } from "node:net";
import { reasonOf } from "../../platform/error-reason.ts";
import { type Finding, ok, wrong } from "./finding.ts";

export type Port = readonly [variable: string, port: number];

/** Checks that each port can be opened. @param alive whether a server answers at WS_PORT and so uses the ports */
export async function checkPorts(host: string, ports: readonly Port[], alive: boolean): Promise<Finding[]> {
  return await Promise.all(
    ports.map(async ([variable, port]) => {
      if (port === 0) return ok(variable, "the system chooses a free port");
      const twin = ports.find(([other, same]) => same === port && other !== variable);
      if (twin !== undefined) return wrong(variable, `${port} is also the port of ${twin[0]}: change one of them`);
      return verdictOn({ variable, host, port, alive, problem: await bindProblem(host, port) });
    }),
  );
}

/** Opens the port for a moment, which also checks the rights of this user. @returns the error code of a failure */
async function bindProblem(host: string, port: number): Promise<string | undefined> {
  const server = createServer();
  try {
    server.listen({ host, port, exclusive: true });
    await once(server, "listening");
    server.close();
    await once(server, "close");
    return undefined;
  } catch (error) {
    return reasonOf(error);
  }
}

type Probed = { variable: string; host: string; port: number; alive: boolean; problem: string | undefined };

function verdictOn({ variable, host, port, alive, problem }: Probed): Finding {
  switch (problem) {
    case undefined:
      return ok(variable, `${port} is free`);
    case "EADDRINUSE":
      return alive
        ? ok(variable, `the running server uses ${port}`)
        : wrong(variable, `another program uses ${port}: stop it, or set ${variable} to a free port`);
    case "EACCES":
      return wrong(variable, `this user may not open ${port}: set ${variable} to a port of 1024 or above`);
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return wrong(variable, `HOST ${host} is not an address of this machine: set HOST to one that is, or to 0.0.0.0`);
    default:
      return wrong(variable, `${port} cannot be opened (${problem}): set ${variable} to another port`);
  }
}
