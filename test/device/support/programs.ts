import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import sharp from "sharp";
import { expect, onTestFinished, vi } from "vitest";

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "skylapse-device-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Programs used by the scripts of fake programs. */
const TOOLS = ["cat", "cp", "head", "mv", "setsid", "sleep", "tr"];

/** A folder of fake camera programs. PATH contains nothing else, because a real gphoto2 may be installed. */
export class Programs {
  readonly folder = temporaryFolder();

  constructor() {
    const tools = join(this.folder, "tools");
    mkdirSync(tools);
    for (const tool of TOOLS) {
      const place = ["/usr/bin", "/bin"].find((folder) => existsSync(join(folder, tool))) ?? expect.fail(`no ${tool}`);
      symlinkSync(join(place, tool), join(tools, tool));
    }
    vi.stubEnv("PATH", `${this.folder}:${tools}`);
    onTestFinished(() => {
      vi.unstubAllEnvs();
    });
  }

  /** @param script a script for `sh`, in which `$HERE` is this folder */
  add(name: string, script: string): void {
    const before = `HERE='${this.folder}'\nfor arg; do echo "$arg"; done >> "$HERE/${name}.args"; echo >> "$HERE/${name}.args"`;
    writeFileSync(join(this.folder, name), `#!/bin/sh\n${before}\n${script}\n`, { mode: 0o755 });
  }

  /** The arguments of each call of a program. */
  calls(name: string): string[][] {
    const text = this.read(`${name}.args`) ?? "";
    return text.split("\n\n").flatMap((call) => (call === "" ? [] : [call.split("\n")]));
  }

  write(file: string, content: string | Uint8Array): void {
    writeFileSync(join(this.folder, file), content);
  }

  read(file: string): string | undefined {
    const path = join(this.folder, file);
    return existsSync(path) ? readFileSync(path, "utf8") : undefined;
  }
}

export async function jpegOf(width = 64, height = 48, background = "#468"): Promise<Buffer> {
  return sharp({ create: { width, height, channels: 3, background } })
    .jpeg()
    .toBuffer();
}

/** A JPEG as cameras write it: the metadata contains a thumbnail, which is a complete JPEG. */
export async function jpegWithThumbnail(): Promise<Buffer> {
  const [picture, thumbnail] = await Promise.all([jpegOf(640, 480), jpegOf(32, 24)]);
  const notes = Buffer.concat([Buffer.from([0xff, 0xe1, 0, 0]), Buffer.from("Exif\0\0"), thumbnail]);
  notes.writeUInt16BE(notes.length - 2, 2);
  return Buffer.concat([picture.subarray(0, 2), notes, picture.subarray(2)]);
}

/** Whether a process is running. A zombie is not. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2)[0] !== "Z";
  } catch {
    return false;
  }
}

export async function haveExited(pids: readonly number[]): Promise<void> {
  await expect.poll(() => pids.filter(isRunning)).toEqual([]);
}
