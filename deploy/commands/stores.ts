import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { readEnvironment } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { storeSettings } from "../config/config.ts";
import { BackupError } from "../stores/backup.ts";
import { say } from "./command-line.ts";

const VERIFY_HELP = `
It reads every file below DATA_PATH and compares it with its checksums, then every row, and whether the journal has gaps.
It repairs nothing. While a server has the stores open only the files are read: stop it to have the rows read, too.

Exit codes: 0 what was read is whole; 1 something is damaged.
`;
const BACKUP_HELP = `
The server may run. The folder gets events, MQTT sessions, users, devices, pictures and secrets: keep it as secret as they are.
`;
const RESTORE_HELP = `
DATA_PATH must be empty or not be there, and no server may run with it. Clients that have seen more than the backup holds
are told so: the journal begins a new epoch.
`;

/** `skylapse verify`, `skylapse backup` and `skylapse restore` */
export function storeCommands(program: Command, environment: () => NodeJS.ProcessEnv): void {
  program
    .command("verify")
    .description("read everything that the server keeps, and say what is damaged")
    .addHelpText("after", VERIFY_HELP)
    .action(async () => {
      const { verifyData } = await import("../doctor/verify.ts");
      const findings = await verifyData(dataPathOf(environment()));
      const width = Math.max(...findings.map(({ subject }) => subject.length));
      for (const { verdict, subject, text } of findings)
        say(`${verdict.padEnd("wrong".length)}  ${subject.padEnd(width)}  ${text}`);
      if (findings.some(({ verdict }) => verdict === "wrong")) process.exitCode = 1;
    });

  program
    .command("backup")
    .description("copy everything that the server keeps to a new folder, while it runs")
    .argument("<folder>", "where the copy goes")
    .addHelpText("after", BACKUP_HELP)
    .action(async (folder: string) => {
      const { backUp } = await import("../stores/backup.ts");
      const { files } = await backUp(dataPathOf(environment()), folder);
      say(`${files.length} files, ${sum(files)} bytes are in ${folder}`);
    });

  program
    .command("restore")
    .description("put a backup in the place of the server's data")
    .argument("<folder>", "the backup")
    .addHelpText("after", RESTORE_HELP)
    .action(async (folder: string) => {
      const { restore } = await import("../stores/backup.ts");
      const dataPath = dataPathOf(environment());
      const { files, madeAt } = await restore(folder, dataPath);
      say(`${files.length} files, ${sum(files)} bytes of ${madeAt} are in ${dataPath}: start the server`);
    });
}

function sum(files: readonly { bytes: number }[]): number {
  return files.reduce((bytes, file) => bytes + file.bytes, 0);
}

/** @throws {BackupError} the data is elsewhere */
function dataPathOf(env: NodeJS.ProcessEnv): string {
  const settings = { DATA_PATH: serverSettings.DATA_PATH, REDIS_URL: storeSettings.REDIS_URL };
  const { DATA_PATH, REDIS_URL } = readEnvironment(settings, { env, readFile: (path) => readFileSync(path, "utf8") });
  if (REDIS_URL !== undefined)
    throw new BackupError(
      "REDIS_URL is set: events, sessions, users and pictures are in Redis, which has its own ways to be checked and " +
        `copied (redis-check-aof, BGSAVE). Of ${DATA_PATH} only secrets.json is to be kept`,
    );
  return DATA_PATH;
}
