import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface ChildRequest {
  id: number;
  /** An empty list requests the status. */
  messages: { session: string; seq: number; topic?: string }[];
}

export type ChildReport =
  | { kind: "open" }
  | { kind: "unusable"; error: string }
  | { kind: "appended"; id: number; index: number; position: number | undefined }
  | { kind: "refused"; id: number; index: number; error: string }
  | {
      kind: "status";
      id: number;
      head: number;
      unavailableReason: string | undefined;
      state: string[];
      read: number[];
    };

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

// Node 20 cannot run TypeScript; Vite's module runner can.
const LOAD = `
  import { runnerImport } from "vite";
  await runnerImport(process.argv.at(-2), { configFile: false, logLevel: "silent" });
`;
const CHILD = fileURLToPath(new URL("./journal-child.ts", import.meta.url));

/** Starts the process. Resolves once the journal is open or has failed to open. */
export async function startJournalProcess(path: string): Promise<JournalProcess> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", LOAD, CHILD, path], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const reports: ChildReport[] = [];
  let watch = () => {};
  child.on("message", (report: ChildReport) => {
    reports.push(report);
    watch();
  });
  const exited = once(child, "exit");
  let ids = 0;

  const until = (fits: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      void exited.then(() => (fits() ? resolve() : reject(new Error("the journal's process ended"))));
      watch = () => {
        if (fits()) resolve();
      };
      watch();
    });
  const send = (messages: ChildRequest["messages"]) => {
    ids++;
    // Errors are ignored: the process may be killed meanwhile, and unanswered messages are sent to the next process.
    child.send({ id: ids, messages }, () => undefined);
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
    setDisk: (roomInFile) => setFileSizeLimit(child, roomInFile === "free" ? "unlimited" : String(roomInFile)),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
  await until(() => reports.length > 0);
  return journal;
}

function setFileSizeLimit({ pid }: ChildProcess, soft: string): void {
  execFileSync("prlimit", ["--pid", String(pid), `--fsize=${soft}:`]);
}
