/** What a Redis says about itself in its answer to `INFO`, which hosted services allow too. */
export interface RedisServerInfo {
  version: string;
  /** A random name of this run of the server: another server, or the same one after a restart, has another. */
  runId: string;
  isMaster: boolean;
  /** While the server loads its data, it refuses nearly all commands. */
  loading: { percent: string; secondsLeft: string } | undefined;
  /** All other facts, by name. */
  facts: ReadonlyMap<string, string>;
}

export function readServerInfo(info: string): RedisServerInfo {
  const facts = new Map<string, string>();
  for (const line of info.split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) facts.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const isLoading = facts.get("loading") === "1";
  const [percent = "?", secondsLeft = "?"] = [facts.get("loading_loaded_perc"), facts.get("loading_eta_seconds")];
  return {
    version: facts.get("redis_version") ?? "0",
    runId: facts.get("run_id") ?? "",
    isMaster: (facts.get("role") ?? "master") === "master",
    loading: isLoading ? { percent, secondsLeft } : undefined,
    facts,
  };
}
