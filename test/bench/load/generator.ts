import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { cpuSecondsOf } from "../process-cpu.ts";
import type { Calls, Reply, Request } from "./worker.ts";

const PROGRAM = fileURLToPath(new URL("./worker.js", import.meta.url));

/** A separate process that generates load, so that the measured CPU time of the server excludes this work. */
export interface Generator {
  cpuSeconds(): number;
  /** @throws the error that the call threw in the process */
  call<Name extends keyof Calls>(
    name: Name,
    ...argument: Parameters<Calls[Name]>
  ): Promise<Awaited<ReturnType<Calls[Name]>>>;
  stop(): Promise<void>;
}

export async function startGenerator(): Promise<Generator> {
  const child = fork(PROGRAM);
  await once(child, "spawn");
  const { pid } = child;
  if (pid === undefined) throw new Error("the load generator did not start");
  const pending = new Map<number, { resolve: (result: never) => void; reject: (error: Error) => void }>();
  let lastId = 0;

  child.on("message", (text: string) => {
    const reply: Reply = JSON.parse(text);
    const waiting = pending.get(reply.id);
    pending.delete(reply.id);
    if (reply.error === undefined) waiting?.resolve(reply.result);
    else waiting?.reject(new Error(reply.error));
  });
  child.once("exit", (code, signal) => {
    for (const { reject } of pending.values()) reject(new Error(`the load generator ended with ${code ?? signal}`));
    pending.clear();
  });

  return {
    cpuSeconds: () => cpuSecondsOf(pid),
    call: (name, ...[argument]) =>
      new Promise((resolve, reject) => {
        const id = ++lastId;
        pending.set(id, { resolve, reject });
        const request: Omit<Request, "argument"> = { id, name };
        child.send(JSON.stringify({ ...request, argument }));
      }),
    stop: () => stop(child),
  };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
