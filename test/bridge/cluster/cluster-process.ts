import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface ChildOptions {
  url: string;
  prefix: string;
  heartbeatMs: number;
  nodeTimeoutMs: number;
  leaseMs: number;
}

type Question =
  | { kind: "acquire"; name: string }
  | { kind: "enter"; userId: string; connectionId: string; limit: number };
export type ChildQuestion = { id: number } & Question;

export type ChildAnswer =
  | { kind: "ready" }
  | { kind: "answer"; id: number; yes: boolean }
  | { kind: "lost"; name: string };

export interface ClusterProcess {
  /** Acquires a lease. @returns whether it succeeded */
  acquire(name: string): Promise<boolean>;
  enter(userId: string, connectionId: string, limit: number): Promise<boolean>;
  /** Resolves when the node has noticed that it lost the lease. */
  lost(name: string): Promise<void>;
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
}

// Node 20 cannot run TypeScript; Vite's module runner can.
const LOAD = `
  import { runnerImport } from "vite";
  await runnerImport(process.argv.at(-2), { configFile: false, logLevel: "silent" });
`;
const CHILD = fileURLToPath(new URL("./cluster-child.ts", import.meta.url));

/** Starts a node. Resolves once it is in the cluster. */
export async function startClusterProcess(options: ChildOptions): Promise<ClusterProcess> {
  const args = ["--input-type=module", "-e", LOAD, CHILD, JSON.stringify(options)];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "ignore", "inherit", "ipc"] });
  const answers: ChildAnswer[] = [];
  let watch = () => {};
  child.on("message", (answer: ChildAnswer) => {
    answers.push(answer);
    watch();
  });
  const exited = once(child, "exit");
  const until = (fits: (answer: ChildAnswer) => boolean) =>
    new Promise<ChildAnswer>((resolve, reject) => {
      void exited.then(() => reject(new Error("the node's process ended")));
      watch = () => {
        const found = answers.find(fits);
        if (found !== undefined) resolve(found);
      };
      watch();
    });
  let asked = 0;
  async function ask(question: Question): Promise<boolean> {
    const id = ++asked;
    child.send({ ...question, id });
    const answer = await until((one) => one.kind === "answer" && one.id === id);
    return answer.kind === "answer" && answer.yes;
  }

  await until(({ kind }) => kind === "ready");
  return {
    acquire: (name) => ask({ kind: "acquire", name }),
    enter: (userId, connectionId, limit) => ask({ kind: "enter", userId, connectionId, limit }),
    async lost(name) {
      await until((answer) => answer.kind === "lost" && answer.name === name);
    },
    freeze: () => child.kill("SIGSTOP"),
    thaw: () => child.kill("SIGCONT"),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
