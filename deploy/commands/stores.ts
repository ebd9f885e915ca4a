import { readFileSync } from "node:fs";
import { pino } from "pino";
import { readEnvironment } from "../../platform/config.ts";
import { serverSettings } from "../../platform/server-settings.ts";
import { storeSettings } from "../config/config.ts";
import { BackupError } from "../stores/backup-error.ts";
import { type CommandLine, print, printFindings } from "./command-line.ts";

const VERIFY_HELP = `
This compares every file of the stores below DATA_PATH with its checksums, then reads every row and checks the journal for
gaps. It repairs nothing. While a server has the stores open, only the files are checked: stop the server to check the
rows, too.

Exit codes: 0 no damage was found; 1 something is damaged.
`;
const BACKUP_HELP = `
The server may run. The copy contains events, MQTT sessions, users, devices, pictures and secrets: protect it like them.
`;
const RESTORE_HELP = `
DATA_PATH must be empty or not exist, and no server may use it. The journal begins a new epoch, so that a client that has
received events after the backup gets a message about the gap.
`;

const NEW_EPOCH_HELP = `
Run this after Redis was restored from a copy, before the first server starts. Clients that have received events after the
copy was made then get a message about the gap. \`skylapse restore\` does the same for data without Redis.
`;

export function storeCommands({ program, environment, shell, fail }: CommandLine): void {
  program
    .command("verify")
    .description("check all data of the server for damage")
    .addHelpText("after", VERIFY_HELP)
    .action(async () => {
      const { verifyData } = await import("../doctor/verify.ts");
      const findings = await verifyData(dataPathOf(environment()));
      printFindings(shell, findings);
      if (findings.some(({ verdict }) => verdict === "wrong")) fail();
    });

  program
    .command("backup")
    .description("copy all data of the server to a new folder, also while it runs")
    .argument("<folder>", "the folder for the copy")
    .addHelpText("after", BACKUP_HELP)
    .action(async (folder: string) => {
      const { backUp } = await import("../stores/backup.ts");
      const { files } = await backUp(dataPathOf(environment()), folder);
      print(shell, `copied ${files.length} files, ${totalBytes(files)} bytes to ${folder}`);
    });

  program
    .command("restore")
    .description("restore the data of the server from a backup")
    .argument("<folder>", "the folder of the backup")
    .addHelpText("after", RESTORE_HELP)
    .action(async (folder: string) => {
      const { restore } = await import("../stores/backup.ts");
      const dataPath = dataPathOf(environment());
      const { files, madeAt } = await restore(folder, dataPath);
      print(
        shell,
        `restored ${files.length} files, ${totalBytes(files)} bytes of ${madeAt} to ${dataPath}: start the server`,
      );
    });

  program
    .command("new-epoch")
    .description("begin a new epoch of the journal in a restored Redis")
    .addHelpText("after", NEW_EPOCH_HELP)
    .action(async () => {
      const { REDIS_URL: url, REDIS_PREFIX: prefix } = readEnvironment(storeSettings, sourceOf(environment()));
      if (url === undefined)
        throw new BackupError(
          "REDIS_URL is not set: this command is only for Redis; without Redis, `skylapse restore` itself begins the new epoch",
        );
      const { openRedis } = await import("../../platform/redis/connections.ts");
      const { beginNewEpoch } = await import("../../bridge/journal/stores/redis/redis.ts");
      const redis = openRedis({ url, prefix, logger: pino({ level: "silent" }) });
      try {
        if (!(await beginNewEpoch(redis)))
          throw new BackupError(
            `this Redis has no journal with the prefix ${prefix}: check REDIS_URL and REDIS_PREFIX`,
          );
      } finally {
        await redis.close();
      }
      print(shell, "the journal has a new epoch: start the server");
    });
}

function totalBytes(files: readonly { bytes: number }[]): number {
  return files.reduce((bytes, file) => bytes + file.bytes, 0);
}

/** @throws {BackupError} the data is in Redis */
function dataPathOf(env: NodeJS.ProcessEnv): string {
  const settings = { DATA_PATH: serverSettings.DATA_PATH, REDIS_URL: storeSettings.REDIS_URL };
  const { DATA_PATH, REDIS_URL } = readEnvironment(settings, sourceOf(env));
  if (REDIS_URL !== undefined)
    throw new BackupError(
      "REDIS_URL is set, so events, sessions, users and pictures are in Redis: check and copy them with its own tools " +
        `(redis-check-aof, BGSAVE), and copy secrets.json from ${DATA_PATH}`,
    );
  return DATA_PATH;
}

function sourceOf(env: NodeJS.ProcessEnv) {
  return { env, readFile: (path: string) => readFileSync(path, "utf8") };
}
