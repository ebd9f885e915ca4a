import { startChildProgram } from "../../support/child-program.ts";
import type { ChildReport, ChildRequest } from "./journal-child.ts";

type StatusReport = Extract<ChildReport, { kind: "status" }>;

export interface JournalProcess {
  readonly reports: readonly ChildReport[];
  /** Sends messages to append, without waiting for their reports. */
  send(messages: ChildRequest["messages"]): number;
  /** Sends messages to append. Resolves to the reports once all messages are accepted or rejected. */
  append(messages: ChildRequest["messages"]): Promise<ChildReport[]>;
  status(): Promise<StatusReport>;
  /** Checks the condition after each report, and resolves once the condition holds. */
  until(fits: () => boolean): Promise<void>;
  /**
   * Limits the size of every file that the process writes, in bytes. A larger write fails completely or in part, as
   * on a full disk, but with EFBIG in place of ENOSPC. No separate disk and no root access is needed.
   */
  setDisk(roomInFile: number | "free"): void;
  kill(): Promise<void>;
}

/** Starts the process. Resolves once the journal is open or has failed to open. */
export async function startJournalProcess(path: string): Promise<JournalProcess> {
  const child = startChildProgram<ChildRequest, ChildReport>("bridge/journal/journal-child", path);
  const reports: ChildReport[] = [];
  let watch = () => {};
  child.onMessage((report) => {
    reports.push(report);
    watch();
  });
  let ids = 0;

  const until = (fits: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      void child.ended.then((error) => (fits() ? resolve() : reject(error)));
      watch = () => {
        if (fits()) resolve();
      };
      watch();
    });
  const send = (messages: ChildRequest["messages"]) => {
    ids++;
    // The process may be killed meanwhile: unanswered messages are sent to the next process.
    child.send({ id: ids, messages });
    return ids;
  };
  const journal: JournalProcess = {
    reports,
    send,
    until,
    async append(messages) {
      const id = send(messages);
      const own = () =>
        reports.filter((report) => (report.kind === "appended" || report.kind === "refused") && report.id === id);
      await until(() => own().length === messages.length);
      return own();
    },
    async status() {
      const id = send([]);
      const own = () => reports.find((report): report is StatusReport => report.kind === "status" && report.id === id);
      await until(() => own() !== undefined);
      const status = own();
      if (status === undefined) throw new Error("no status was reported");
      return status;
    },
    setDisk: child.setDisk,
    kill: child.kill,
  };
  await until(() => reports.length > 0);
  return journal;
}
