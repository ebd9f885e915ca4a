import { createInterface } from "node:readline";
import { Writable } from "node:stream";

/** More than any password has, should what comes in have no line. */
const MAX_LINE_LENGTH = 8 * 1024;

/** Nobody has said a password, or not twice the same. */
export class NoPasswordError extends Error {
  override name = "NoPasswordError";
}

/**
 * Asks for a new password at a terminal, twice, where it is not shown; else takes the first line of the standard input.
 * @throws {NoPasswordError}
 */
export async function readPassword(question: string): Promise<string> {
  if (!process.stdin.isTTY) return await readLine();
  const password = await ask(question);
  if (password !== (await ask("The same again: "))) throw new NoPasswordError("these are two passwords: try again");
  return password;
}

/** The first line of the standard input, without its end; what comes after it is not waited for. */
export async function readLine(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += String(chunk);
    if (text.includes("\n") || text.length > MAX_LINE_LENGTH) break;
  }
  return text.split(/\r?\n/, 1)[0] ?? "";
}

async function ask(question: string): Promise<string> {
  const { stdin, stderr } = process;
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  // First, for it is what keeps the terminal from showing what is typed.
  const terminal = createInterface({ input: stdin, output: hidden, terminal: true });
  stderr.write(question);
  try {
    return await new Promise<string>((resolve, reject) => {
      terminal.once("line", resolve);
      // By Ctrl-C, Ctrl-D, or because the terminal is gone.
      terminal.once("close", () => reject(new NoPasswordError("no password was given")));
    });
  } finally {
    terminal.close();
    stderr.write("\n");
  }
}
