import { startChildProgram } from "../../support/child-program.ts";
import type { LocalAnswer, LocalQuestion } from "./local-child.ts";

/** A cluster of one in a child process. */
export interface LocalProcess {
  /** Writes the documents concurrently. Resolves to all documents afterwards. */
  put(...documents: LocalQuestion["put"]): Promise<LocalAnswer>;
  /** Limits the size of every file that the process writes, in bytes, as if the disk were full. */
  setDisk(roomInFile: number | "free"): void;
  kill(): Promise<void>;
}

/** Starts the process. Resolves once the cluster is open. */
export async function startLocalProcess(path: string): Promise<LocalProcess> {
  const child = startChildProgram<LocalQuestion, LocalAnswer>("bridge/cluster/local-child", path);
  const waiting = new Map<number, (answer: LocalAnswer) => void>();
  child.onMessage((answer) => waiting.get(answer.id)?.(answer));
  const answerTo = (id: number) =>
    new Promise<LocalAnswer>((resolve, reject) => {
      waiting.set(id, resolve);
      void child.ended.then(reject);
    });
  let asked = 0;
  await answerTo(0);
  return {
    put(...put) {
      const answer = answerTo(++asked);
      child.send({ id: asked, put });
      return answer;
    },
    setDisk: child.setDisk,
    kill: child.kill,
  };
}
