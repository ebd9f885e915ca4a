import { setTimeout as pause } from "node:timers/promises";
import { startChildProgram } from "../../support/child-program.ts";
import type { ChildAnswer, ChildOptions, ChildQuestion, Question } from "./cluster-child.ts";

export interface ClusterProcess {
  /**
   * Acquires a lease. Retries while Redis is unavailable to the node: the commands of a node that was suspended have
   * timed out. @returns whether the node got the lease
   */
  acquire(name: string): Promise<boolean>;
  enter(userId: string, connectionId: string, limit: number): Promise<boolean>;
  /** Resolves when the node has noticed that it lost the lease. */
  lost(name: string): Promise<void>;
  freeze(): void;
  thaw(): void;
  kill(): Promise<void>;
}

const RETRY_MS = 20;

/** Starts a node. Resolves once it is in the cluster. */
export async function startClusterProcess(options: ChildOptions): Promise<ClusterProcess> {
  const child = startChildProgram<ChildQuestion, ChildAnswer>("bridge/cluster/cluster-child", JSON.stringify(options));
  const answers: ChildAnswer[] = [];
  let watch = () => {};
  child.onMessage((answer) => {
    answers.push(answer);
    watch();
  });
  const until = (fits: (answer: ChildAnswer) => boolean) =>
    new Promise<ChildAnswer>((resolve, reject) => {
      void child.ended.then(reject);
      watch = () => {
        const found = answers.find(fits);
        if (found !== undefined) resolve(found);
      };
      watch();
    });
  let asked = 0;
  async function ask(question: Question): Promise<boolean> {
    for (;;) {
      const id = ++asked;
      child.send({ ...question, id });
      const answer = await until((one) => "id" in one && one.id === id);
      if (answer.kind === "answer") return answer.yes;
      if (answer.kind === "failed" && answer.error !== "StoreUnavailableError") throw new Error(answer.error);
      await pause(RETRY_MS);
    }
  }

  await until(({ kind }) => kind === "ready");
  return {
    acquire: (name) => ask({ kind: "acquire", name }),
    enter: (userId, connectionId, limit) => ask({ kind: "enter", userId, connectionId, limit }),
    async lost(name) {
      await until((answer) => answer.kind === "lost" && answer.name === name);
    },
    freeze: () => child.process.kill("SIGSTOP"),
    thaw: () => child.process.kill("SIGCONT"),
    kill: child.kill,
  };
}
