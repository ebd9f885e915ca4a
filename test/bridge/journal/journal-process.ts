import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

export interface ChildRequest {
  id: number;
  /** None: asks for the status. */
  messages: { session: string; seq: number; topic?: string }[];
}

export type ChildReport =
  | { kind: "open" }
  | { kind: "unusable"; error: string }
  | { kind: "appended"; id: number; index: number; position: number | undefined }
  | { kind: "refused"; id: number; index: number; error: string }
  | { kind: "status"; id: number; head: number; trouble: string | undefined; state: string[]; read: number[] };

type StatusReport = Extract<ChildReport, { kind: "status" }>;

/** A journal in a process of its own. */
export interface JournalProcess {
  /** Everything it has reported so far. */
  readonly reports: readonly ChildReport[];
  /** Sends messages to append; what comes of each is reported. */
  send(messages: ChildRequest["messages"]): number;
  /** Sends messages and resolves when each was accepted or refused, to what came of them. */
  append(messages: ChildRequest["messages"]): Promise<ChildReport[]>;
  status(): Promise<StatusReport>;
  /** Resolves when a report fits. */
  until(fits: () => boolean): Promise<void>;
  /**
   * Lets it write no file beyond so many bytes, or as much as it likes again. A write fails, in part or as a whole, as
   * on a full disk, with EFBIG for ENOSPC; this needs neither a disk of one's own nor the rights to make one.
   */
  setDisk(roomInFile: number | "free"): void;
  kill(): Promise<void>;
}

// Node 20 reads no TypeScript; Vite's module runner does.
const LOAD = `
  import { runnerImport } from "vite";
  await runnerImport(process.argv.at(-2), { configFile: false, logLevel: "silent" });
`;
const CHILD = fileURLToPath(new URL("./journal-child.ts", import.meta.url));

/** Starts the process; resolves when the journal is open, or could not be opened. */
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
    // One that was killed meanwhile hears nothing, and what it has not answered is sent to the next.
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
