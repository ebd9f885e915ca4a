import { once } from "node:events";
import { createServer } from "node:net";
import { reasonOf } from "../operator/error-reason.ts";
import { type Finding, ok, wrong } from "./finding.ts";

/** A variable and the port it names. */
export type Port = readonly [variable: string, port: number];

/** @param alive the server that answers at WS_PORT has the ports that it needs */
export async function checkPorts(host: string, ports: readonly Port[], alive: boolean): Promise<Finding[]> {
  return await Promise.all(
    ports.map(async ([variable, port]) => {
      if (port === 0) return ok(variable, "takes one that is free");
      const twin = ports.find(([other, same]) => same === port && other !== variable);
      if (twin !== undefined) return wrong(variable, `${port} is ${twin[0]}'s, too: set one of them to another`);
      return verdictOn({ variable, host, port, alive, problem: await bindProblem(host, port) });
    }),
  );
}

/** By listening there for a moment: only so it is known whether this user may. */
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

interface Probed {
  variable: string;
  host: string;
  port: number;
  alive: boolean;
  problem: string | undefined;
}

function verdictOn({ variable, host, port, alive, problem }: Probed): Finding {
  switch (problem) {
    case undefined:
      return ok(variable, `${port} is free`);
    case "EADDRINUSE":
      return alive
        ? ok(variable, `${port} is the running server's`)
        : wrong(variable, `${port} is another program's: stop that one, or set ${variable} to a port that is free`);
    case "EACCES":
      return wrong(variable, `${port} is not for this user to open: set ${variable} to a port from 1024 on`);
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return wrong(variable, `HOST ${host} is no address of this machine: set HOST to one that is, or to 0.0.0.0`);
    default:
      return wrong(variable, `${port} cannot be opened (${problem}): set ${variable} to another`);
  }
}
