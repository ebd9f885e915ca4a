import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Json } from "../../../bridge/cluster/cluster.ts";

export interface LocalQuestion {
  id: number;
  put: { key: string; value: Json }[];
}

export interface LocalAnswer {
  id: number;
  /** The names of the errors of rejected writes. */
  refusals: string[];
  /** All documents by key, after the writes. */
  found: Record<string, Json>;
  unavailableReason: string | undefined;
}

/** A cluster of one in a child process. */
export interface LocalProcess {
  /** Writes the documents concurrently. Resolves to all documents afterwards. */
  put(...documents: LocalQuestion["put"]): Promise<LocalAnswer>;
  /** Limits the size of every file that the process writes, in bytes, as if the disk were full. */
  setDisk(roomInFile: number | "free"): void;
  kill(): Promise<void>;
}

// Node 20 cannot run TypeScript; Vite's module runner can.
const LOAD = `
  import { runnerImport } from "vite";
  await runnerImport(process.argv.at(-2), { configFile: false, logLevel: "silent" });
`;
const CHILD = fileURLToPath(new URL("./local-child.ts", import.meta.url));

/** Starts the process. Resolves once the cluster is open. */
export async function startLocalProcess(path: string): Promise<LocalProcess> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", LOAD, CHILD, path], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const waiting = new Map<number, (answer: LocalAnswer) => void>();
  child.on("message", (answer: LocalAnswer) => waiting.get(answer.id)?.(answer));
  const answerTo = (id: number) =>
    new Promise<LocalAnswer>((resolve, reject) => {
      waiting.set(id, resolve);
      void exited.then(() => reject(new Error("the process ended")));
    });
  let asked = 0;
  await answerTo(0);
  return {
    put(...put) {
      const answer = answerTo(++asked);
      child.send({ id: asked, put });
      return answer;
    },
    setDisk: (roomInFile) => {
      execFileSync("prlimit", [
        "--pid",
        String(child.pid),
        `--fsize=${roomInFile === "free" ? "unlimited" : roomInFile}:`,
      ]);
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}
