import { createInterface } from "node:readline";
import { type Readable, Writable } from "node:stream";
import type { Shell } from "./command-line.ts";

/** Longer than any password. Reading stops here if there is no line end. */
const MAX_LINE_LENGTH = 8 * 1024;

/** The user entered no password, or two different passwords. */
class NoPasswordError extends Error {
  override name = "NoPasswordError";
}

/**
 * Asks twice for a new password at a terminal and hides the input. Without a terminal, reads the first line of the
 * standard input.
 * @throws {NoPasswordError}
 */
export async function readPassword(shell: Shell, question: string): Promise<string> {
  if (!shell.stdin.isTTY) return await readLine(shell.stdin);
  const password = await ask(shell, question);
  if (password !== (await ask(shell, "Repeat the password: ")))
    throw new NoPasswordError("the two passwords differ: try again");
  return password;
}

/** Reads the first line of the standard input without waiting for further lines. */
export async function readLine(stdin: Readable): Promise<string> {
  let text = "";
  for await (const chunk of stdin.setEncoding("utf8")) {
    text += String(chunk);
    if (text.includes("\n") || text.length > MAX_LINE_LENGTH) break;
  }
  return text.split(/\r?\n/, 1)[0] ?? "";
}

async function ask({ stdin, stderr }: Shell, question: string): Promise<string> {
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  // Created before the question is printed, because only this interface keeps the terminal from showing the input.
  const terminal = createInterface({ input: stdin, output: hidden, terminal: true });
  stderr.write(question);
  try {
    return await new Promise<string>((resolve, reject) => {
      terminal.once("line", resolve);
      // Ctrl-C, Ctrl-D, or a closed terminal.
      terminal.once("close", () => reject(new NoPasswordError("no password was entered")));
    });
  } finally {
    terminal.close();
    stderr.write("\n");
  }
}
