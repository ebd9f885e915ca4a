export type ConnectionQuality = "excellent" | "good" | "fair" | "poor" | "unknown";

export function qualityOf(latencyMs: number | undefined): ConnectionQuality {
  if (latencyMs === undefined) return "unknown";
  if (latencyMs < 100) return "excellent";
  if (latencyMs < 300) return "good";
  return latencyMs < 1000 ? "fair" : "poor";
}
