import type { Command } from "commander";
import type { ExamineOptions } from "../doctor/doctor.ts";
import { say } from "./command-line.ts";

const HELP = `
Call it as the user that the server runs as, with its settings in the environment. It changes nothing. With --json it
prints {"verdict", "findings": [{"verdict", "subject", "text"}]}.

Exit codes: 0 all is well, warnings at most; 1 something is wrong.
`;

/** `skylapse doctor` */
export function doctorCommand(program: Command, options: () => ExamineOptions): void {
  program
    .command("doctor")
    .description("look at everything that commonly is wrong, and say how to mend it")
    .option("--json", "for programs")
    .addHelpText("after", HELP)
    .action(async ({ json }: { json?: true }) => {
      const { examine } = await import("../doctor/doctor.ts");
      const findings = await examine(options());
      const count = (verdict: string) => findings.filter((finding) => finding.verdict === verdict).length;
      const [wrongs, warnings] = [count("wrong"), count("warn")];
      if (wrongs > 0) process.exitCode = 1;
      if (json) {
        const verdict = wrongs > 0 ? "wrong" : warnings > 0 ? "warn" : "ok";
        say(JSON.stringify({ verdict, findings }, undefined, 2));
        return;
      }
      const width = Math.max(...findings.map(({ subject }) => subject.length));
      for (const { verdict, subject, text } of findings)
        say(`${verdict.padEnd("wrong".length)}  ${subject.padEnd(width)}  ${text}`);
      say(`\n${wrongs} wrong, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`);
    });
}
