import { type Generator, startGenerator } from "./load/generator.ts";
import type { Server } from "./servers/server.ts";

export interface BenchOptions {
  /** Whether to run fewer and shorter rounds, whose results are too inexact for publication. */
  quick: boolean;
  rounds: number;
  /** Duration of a measurement, seconds. */
  seconds: number;
  /** A folder for CPU profiles of Node.js servers. Profiling slows a server down. Default: none. */
  profileTo: string | undefined;
}

/** The results of one side in one round, by key. */
export type Sample = Readonly<Record<string, number>>;

/** The target of a result: the ratio of the first side to the second side, or the value of the first side. */
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

/** One row of the table of results. */
export interface Row {
  name: string;
  title: string;
  /** What is measured, and how fair the comparison is. */
  method: (options: BenchOptions) => string;
  figures: readonly Figure[];
  /** Of a row that takes long. Default: as many as the options say. */
  maxRounds?: number;
  /** Our server alone, or our server and its peer. */
  sides: (options: BenchOptions) => readonly Side[];
}

/** Runs the work on a new server, with load generators that end with the work. */
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
  /**
   * CPU seconds of the load generator during the work. If they are not far below the server's, the generator is the
   * bottleneck.
   */
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
