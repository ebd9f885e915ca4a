import { readFile, readlink } from "node:fs/promises";

/** Linux lists the TCP connections of this network namespace here. */
const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

type OnBytes = (bytes: number) => void;

const asked = new Map<number, OnBytes>();

/**
 * Calls back with the bytes that the kernel holds for a TCP connection, because the peer has not acknowledged them. Never
 * calls back on other systems than Linux, or if the connection ends. One read answers all that ask within the time: with
 * 10,000 connections, the tables have 1.5 MB.
 * @param descriptor the file descriptor of the socket
 */
export function askUnacknowledged(descriptor: number, withinMs: number, onBytes: OnBytes): void {
  if (asked.size === 0) setTimeout(() => void answerAll(), withinMs).unref();
  asked.set(descriptor, onBytes);
}

async function answerAll(): Promise<void> {
  const questions = [...asked];
  asked.clear();
  const tables = await Promise.all(TABLES.map((path) => readFile(path, "latin1").catch(() => "")));
  for (const [descriptor, onBytes] of questions) {
    const link = await readlink(`/proc/self/fd/${descriptor}`).catch(() => "");
    const [, inode] = /^socket:\[(\d+)\]$/.exec(link) ?? [];
    const bytes = inode === undefined ? undefined : bytesOf(tables, inode);
    if (bytes !== undefined) onBytes(bytes);
  }
}

/** A line: number, local address, remote address, state, sent:received (hexadecimal), four more columns, inode. */
function bytesOf(tables: readonly string[], inode: string): number | undefined {
  for (const table of tables) {
    const at = table.indexOf(` ${inode} `);
    if (at < 0) continue;
    const columns = table
      .slice(table.lastIndexOf("\n", at) + 1, at + inode.length + 1)
      .trim()
      .split(/ +/);
    if (columns[9] === inode) return Number.parseInt(columns[4] ?? "", 16);
  }
  return undefined;
}
