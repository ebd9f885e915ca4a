import { type Generator, startGenerator } from "./load/generator.ts";
import type { Server } from "./servers/server.ts";

export interface BenchOptions {
  /** Shorter rounds, and fewer: for a look, not for a claim. */
  quick: boolean;
  rounds: number;
  /** How long a measurement runs, seconds. */
  seconds: number;
  /** A folder that Node servers write CPU profiles to, which costs them time. Default: none. */
  profileTo: string | undefined;
}

/** The figures of one side in one round, by key. */
export type Sample = Readonly<Record<string, number>>;

/** What a figure must come to: the ratio of the first side to the second, or the first side's value. */
export type Target = { ratioAtMost: number } | { ratioAtLeast: number } | { atMost: number } | { atLeast: number };

export interface Figure {
  key: string;
  label: string;
  unit: string;
  target?: Target;
}

export interface Side {
  name: string;
  measure: () => Promise<Sample>;
}

/** One row of the table: a kind of work, and what it costs here and there. */
export interface Row {
  name: string;
  title: string;
  /** What exactly was done and how it is fair, or is not. */
  method: (options: BenchOptions) => string;
  figures: readonly Figure[];
  /** One side, or this system and its peer. */
  sides: (options: BenchOptions) => readonly Side[];
}

/** Runs work on a server that is new, with load generators that end with it. */
export async function onServer<Kind extends Server>(
  start: () => Promise<Kind>,
  work: (server: Kind, newGenerator: () => Promise<Generator>) => Promise<Sample>,
): Promise<Sample> {
  const server = await start();
  const generators: Generator[] = [];
  const newGenerator = async () => {
    const generator = await startGenerator();
    generators.push(generator);
    return generator;
  };
  try {
    return await work(server, newGenerator);
  } finally {
    await Promise.all(generators.map((generator) => generator.stop()));
    await server.stop();
  }
}

export interface Cost<Result> {
  result: Result;
  /** CPU time of the server meanwhile. */
  serverSeconds: number;
  /** CPU time of the load generator meanwhile: far below the server's, or the generator was what was measured. */
  generatorSeconds: number;
}

/** Does the work and tells what it cost whom. */
export async function costOf<Result>(
  server: Server,
  generator: Generator,
  work: () => Promise<Result>,
): Promise<Cost<Result>> {
  const serverBefore = server.cpuSeconds();
  const generatorBefore = generator.cpuSeconds();
  const result = await work();
  return {
    result,
    serverSeconds: server.cpuSeconds() - serverBefore,
    generatorSeconds: generator.cpuSeconds() - generatorBefore,
  };
}

export function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
