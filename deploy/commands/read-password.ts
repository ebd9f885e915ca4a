import { createInterface } from "node:readline";
import { Writable } from "node:stream";

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
export async function readPassword(question: string): Promise<string> {
  if (!process.stdin.isTTY) return await readLine();
  const password = await ask(question);
  if (password !== (await ask("Repeat the password: ")))
    throw new NoPasswordError("the two passwords differ: try again");
  return password;
}

/** Reads the first line of the standard input without waiting for further lines. */
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
