import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
import type { ServerMessage } from "../../contract/socket-messages.ts";
import { createClient } from "../../dashboard-client/client/client.ts";
import type { ReportedGap } from "../../dashboard-client/client/subscription.ts";
import { CAMERA, mint, URL_OF_FRONTEND } from "./installation.ts";
import { EVENT } from "./numbered-camera.ts";

const CHANNEL = `camera:${CAMERA}`;
const SOCKET_URL = `${URL_OF_FRONTEND.replace("http", "ws")}/ws`;
const ARCHIVE_TIMEOUT_MS = 180_000;
const DASHBOARD_TIMEOUT_MS = 60_000;

/** How often each number was seen. */
type Counts = Map<number, number>;

function count(counts: Counts, data: unknown): void {
  const { number } = data as { number: number };
  counts.set(number, (counts.get(number) ?? 0) + 1);
}

function problemsOf(counts: Counts, acknowledged: readonly number[]) {
  const missing = acknowledged.filter((number) => !counts.has(number));
  const twice = [...counts].filter(([, times]) => times > 1).map(([number]) => number);
  return { missing, twice };
}

function demandAll(place: string, counts: Counts, acknowledged: readonly number[]): void {
  const { missing, twice } = problemsOf(counts, acknowledged);
  process.stdout.write(
    `${place}: ${acknowledged.length} acknowledged, ${missing.length} missing, ${twice.length} twice\n`,
  );
  if (missing.length + twice.length > 0)
    throw new Error(`${place} lacks ${missing.slice(0, 10)} and has twice ${twice.slice(0, 10)}`);
}

/** Every acknowledged event must be in the journal and in the archive exactly once. */
export async function demandNothingLost(soFar: readonly number[]): Promise<string> {
  // Copies the list, because the camera goes on sending.
  const acknowledged = [...soFar];
  // One token for all reads: the server limits how many it mints in a minute.
  const token = await mint("camera:read");
  demandAll("journal", await readJournal(token), acknowledged);
  const end = performance.now() + ARCHIVE_TIMEOUT_MS;
  let archive = await readArchive(token);
  // The archive gets events some time after the journal.
  while (problemsOf(archive, acknowledged).missing.length > 0 && performance.now() < end) {
    await sleep(1000);
    archive = await readArchive(token);
  }
  demandAll("archive", archive, acknowledged);
  return `${acknowledged.length} events, each once in journal and archive`;
}

/** Reads the channel of the camera from its first position. */
async function readJournal(token: string): Promise<Counts> {
  const socket = new WebSocket(SOCKET_URL);
  const counts: Counts = new Map();
  let isReading = false;
  let hasLeft = false;
  const done = new Promise<void>((resolve, reject) => {
    socket.on("error", reject);
    socket.on("close", (code) => reject(new Error(`the server closed the WebSocket with ${code}`)));
    socket.on("message", (data) => {
      const message: ServerMessage = JSON.parse(String(data));
      if (message.type === "subscription_result" && !isReading) {
        isReading = true;
        socket.send(JSON.stringify({ type: "unsubscribe", channel: CHANNEL }));
        const since = { epoch: message.epoch, position: 0 };
        socket.send(JSON.stringify({ type: "subscribe", channel: CHANNEL, since }));
      }
      if (message.type === "dashboard_event" && message.event === EVENT && message.snapshot !== true)
        count(counts, message.data);
      if (message.type === "unsubscription_result") {
        hasLeft = true;
        counts.clear();
      }
      if (message.type === "caught_up" && hasLeft) resolve();
    });
  });
  await once(socket, "open");
  socket.send(JSON.stringify({ type: "auth", token }));
  socket.send(JSON.stringify({ type: "subscribe", channel: CHANNEL }));
  await done;
  socket.terminate();
  return counts;
}

async function readArchive(token: string): Promise<Counts> {
  const counts: Counts = new Map();
  const read = () =>
    fetch(`${URL_OF_FRONTEND}/events?camera=${CAMERA}&event=${EVENT}&format=ndjson`, {
      headers: { authorization: `Bearer ${token}` },
    });
  let response = await read();
  // PostgreSQL may have restarted a moment ago.
  for (let tries = 0; response.status === 503 && tries < 60; tries++) {
    await sleep(1_000);
    response = await read();
  }
  if (!response.ok) throw new Error(`GET /events answers ${response.status}: ${await response.text()}`);
  for (const line of (await response.text()).split("\n")) if (line !== "") count(counts, JSON.parse(line).data);
  return counts;
}

export interface Dashboard {
  /** Waits until every number has arrived. @throws {Error} one is missing or came twice */
  demandAll(acknowledged: readonly number[]): Promise<void>;
  /** Resolves when the dashboard receives events live. */
  live(): Promise<void>;
  /** Reported gaps. A restored backup causes a gap. */
  readonly gaps: readonly ReportedGap[];
  close(): void;
}

/** A dashboard that counts the events of the camera, and reconnects by itself. */
export function openDashboard(name: string): Dashboard {
  const counts: Counts = new Map();
  const gaps: ReportedGap[] = [];
  const client = createClient({
    url: SOCKET_URL,
    getToken: () => mint("camera:read"),
    WebSocket,
    // Reconnects are expected here.
    onProblem: () => undefined,
    backoff: { minDelayMs: 200, maxDelayMs: 2000 },
  });
  const subscription = client.subscribe(CHANNEL, {
    onEvent: ({ event, data, snapshot }) => {
      if (event === EVENT && snapshot !== true) count(counts, data);
    },
    onGap: (gap) => gaps.push(gap),
  });
  client.connect();
  const until = async (reached: () => boolean) => {
    const end = performance.now() + DASHBOARD_TIMEOUT_MS;
    while (!reached() && performance.now() < end) await sleep(100);
  };
  return {
    async demandAll(acknowledged) {
      await until(() => problemsOf(counts, acknowledged).missing.length === 0);
      demandAll(name, counts, acknowledged);
    },
    async live() {
      await until(() => subscription.state.status === "live");
      if (subscription.state.status !== "live") throw new Error(`${name} is ${subscription.state.status}`);
    },
    gaps,
    close: () => client.close(),
  };
}
