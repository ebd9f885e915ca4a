import { z } from "zod";
import { askServer, type CommandLine, print } from "./command-line.ts";

const traceSchema = z.object({
  ...{ event: z.string(), camera: z.string().optional(), epoch: z.string(), position: z.number() },
  channels: z.array(z.string()),
  stages: z.array(
    z.object({
      ...{ stage: z.string(), node: z.string().optional(), note: z.string().optional() },
      ...{ at: z.string().optional(), until: z.string().optional(), count: z.number().optional() },
    }),
  ),
  silent_nodes: z.array(z.string()).optional(),
});
type Trace = z.infer<typeof traceSchema>;

const TRACE_HELP = `
Times are those of this machine's time zone. The second column counts from the time that the sender wrote into the event.
Nodes keep the times of their newest events only.
`;

/** `skylapse trace <event id>`: one event through all its stages. */
export function traceCommand({ program, withApi, shell }: CommandLine): void {
  program
    .command("trace")
    .description("show when one event was sent, received, stored, delivered and archived")
    .argument("<event id>", "the `id` of the event")
    .addHelpText("after", TRACE_HELP)
    .action((id: string) =>
      withApi(async (api) => {
        const answer = await askServer(api, "GET", `/events/${encodeURIComponent(id)}/trace`);
        print(shell, traceText(traceSchema.parse(answer)));
      }),
    );
}

/** The trace as a table for people. */
export function traceText({ event, camera, epoch, position, channels, stages, silent_nodes: silent }: Trace): string {
  const sentAt = stages.find(({ stage }) => stage === "sent")?.at;
  const isCluster = new Set(stages.flatMap(({ node }) => node ?? [])).size > 1;
  const rows = stages.map(({ stage, node, at, until, count, note }) => {
    const dashboards = count === undefined || count === 0 ? [] : [count === 1 ? "1 dashboard" : `${count} dashboards`];
    const last = at === until || until === undefined ? [] : [`the last at ${relative(until, sentAt)}`];
    const where = isCluster && node !== undefined ? [`node ${node}`] : [];
    const time = at === undefined ? ["", ""] : [localTime(at), relative(at, sentAt)];
    return [stage, ...time, [...dashboards, ...last, ...where, ...(note === undefined ? [] : [note])].join(", ")];
  });
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return [
    `${event}${camera === undefined ? "" : ` of ${camera}`}: position ${position} of epoch ${epoch}`,
    `channels: ${channels.length === 0 ? "none" : channels.join(", ")}`,
    ...rows.map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    ),
    ...(silent === undefined ? [] : [`these nodes did not answer: ${silent.join(", ")}`]),
  ].join("\n");
}

/** Such as `2026-03-01 06:30:00.000`, in the time zone of this machine. */
function localTime(at: string): string {
  const time = new Date(at);
  const shifted = new Date(time.getTime() - time.getTimezoneOffset() * 60_000);
  return shifted.toISOString().replace("T", " ").replace("Z", "");
}

/** The time after the sending of the event, such as `+12 ms` or `+3.4 s`. */
function relative(at: string, sentAt: string | undefined): string {
  const ms = Date.parse(at) - Date.parse(sentAt ?? at);
  const sign = ms < 0 ? "-" : "+";
  return Math.abs(ms) < 1_000 ? `${sign}${Math.abs(ms)} ms` : `${sign}${(Math.abs(ms) / 1_000).toFixed(1)} s`;
}
