import { type Generator, startGenerator } from "./load/generator.ts";
import type { Server } from "./servers/server.ts";

export interface BenchOptions {
  /** Shorter and fewer rounds: for a quick look, not for publication. */
  quick: boolean;
  rounds: number;
  /** Duration of a measurement, seconds. */
  seconds: number;
  /** A folder for CPU profiles of Node servers. Profiling slows these servers down. Default: none. */
  profileTo: string | undefined;
}

/** The results of one side in one round, by key. */
export type Sample = Readonly<Record<string, number>>;

/** The target of a result: the ratio of the first side to the second, or the first side's value. */
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

/** One row of the table: a kind of work and its cost on each side. */
export interface Row {
  name: string;
  title: string;
  /** What exactly is measured, and how the comparison is fair or unfair. */
  method: (options: BenchOptions) => string;
  figures: readonly Figure[];
  /** This system alone, or this system and its peer. */
  sides: (options: BenchOptions) => readonly Side[];
}

/** Runs the work on a new server, with load generators that end with it. */
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
  /** CPU seconds of the server during the work. */
  serverSeconds: number;
  /** CPU seconds of the load generator during the work: far below the server's, unless the generator is the bottleneck. */
  generatorSeconds: number;
}

/** Runs the work and measures the CPU time of server and load generator. */
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
