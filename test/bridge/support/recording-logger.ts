import { type Logger, pino } from "pino";

export function recordingLogger(): { logger: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  return { logger: pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) }), lines };
}
