import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { freePort } from "./ports.ts";
import { POSTGRES_BIN } from "./programs.ts";

export interface PostgresServer {
  /** The address of a database of this server. */
  url: string;
  /** Lets tests freeze the process. */
  readonly process: ChildProcess;
  /** Ends PostgreSQL at once; transactions under way are undone. */
  stop(): Promise<void>;
  /** Restarts PostgreSQL on the same port with its data. */
  start(): Promise<void>;
  /** Ends PostgreSQL and removes its data. */
  remove(): Promise<void>;
}

/** A real PostgreSQL on a free port of 127.0.0.1. */
export async function startPostgres(): Promise<PostgresServer> {
  const folder = await mkdtemp(join(tmpdir(), "skylapse-postgres-"));
  const port = await freePort();
  // PostgreSQL refuses to run as root. Debian's package creates this user.
  const isRoot = process.getuid?.() === 0;
  const account = isRoot ? { uid: idOf("-u"), gid: idOf("-g") } : {};
  if (account.uid !== undefined) chownSync(folder, account.uid, account.gid);
  const data = join(folder, "data");
  const options = { ...account, cwd: folder, stdio: "ignore" } as const;
  execFileSync(
    join(POSTGRES_BIN, "initdb"),
    ["-D", data, "-A", "trust", "-U", "skylapse", "-E", "UTF8", "-N"],
    options,
  );
  const url = `postgres://skylapse@127.0.0.1:${port}/postgres`;
  let child = await run();

  async function run(): Promise<ChildProcess> {
    const server = spawn(
      join(POSTGRES_BIN, "postgres"),
      ["-D", data, "-p", String(port), "-h", "127.0.0.1", "-k", "", "-c", "shared_buffers=64MB"],
      options,
    );
    await answers(url, server);
    return server;
  }

  async function stop(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    // Continue a frozen process first: it cannot end while it is frozen. SIGQUIT ends all processes of the server
    // without a checkpoint.
    child.kill("SIGCONT");
    child.kill("SIGQUIT");
    await ended;
  }

  return {
    url,
    get process() {
      return child;
    },
    stop,
    async start() {
      child = await run();
    },
    async remove() {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function idOf(option: "-u" | "-g"): number {
  return Number(execFileSync("id", [option, "postgres"], { encoding: "utf8" }));
}

/** Resolves when the server accepts connections. Polls, because PostgreSQL does not report this moment. */
async function answers(url: string, server: ChildProcess): Promise<void> {
  for (;;) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      return;
    } catch (error) {
      if (server.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
