import type { ExamineOptions } from "../doctor/doctor.ts";
import { type CommandLine, print, printFindings } from "./command-line.ts";

const HELP = `
Run this as the user that the server runs as, with the settings of the server in the environment. It changes nothing.
With --json it prints {"verdict", "findings": [{"verdict", "subject", "text"}]}.

Exit codes: 0 nothing is wrong, perhaps with warnings; 1 something is wrong.
`;

export function doctorCommand({ program, shell, fail }: CommandLine, options: () => ExamineOptions): void {
  program
    .command("doctor")
    .description("check settings, disk, ports, certificates, Redis, clock and server, and say how to fix what is wrong")
    .option("--json", "print JSON for programs")
    .addHelpText("after", HELP)
    .action(async ({ json }: { json?: true }) => {
      const { examine } = await import("../doctor/doctor.ts");
      const findings = await examine(options());
      const count = (verdict: string) => findings.filter((finding) => finding.verdict === verdict).length;
      const [wrongs, warnings] = [count("wrong"), count("warn")];
      if (wrongs > 0) fail();
      if (json) {
        const verdict = wrongs > 0 ? "wrong" : warnings > 0 ? "warn" : "ok";
        print(shell, JSON.stringify({ verdict, findings }, undefined, 2));
        return;
      }
      printFindings(shell, findings);
      print(shell, `\n${wrongs} wrong, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`);
    });
}
