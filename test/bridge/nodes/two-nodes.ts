import { vi } from "vitest";
import { startChildProgram } from "../../support/child-program.ts";
import { type Answer, type CallOptions, call, OPERATOR_KEY } from "../support/test-bridge.ts";
import { connect, type TestClient } from "../websocket/client.ts";
import type { ClientConnected, NodeMessage, NodeOptions, Said } from "./node-child.ts";

const FAST = { heartbeatMs: 200, deadAfterMs: 1_500, leaseMs: 1_000 };
const NO_LIMITS = {
  ...{ MAX_TOKEN_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_MINUTE: "0", MAX_REQUESTS_PER_SECOND: "0" },
  ...{ MAX_COMMANDS_PER_MINUTE: "0", SHUTDOWN_SPREAD_MS: "0" },
};
/** The log lines of a node that has begun a task, and that has lost it. */
const BEGUN = "node runs the task";
const LOST = "node has lost the task to another node, or to a pause of Redis";

const running = new Set<{ kill(): Promise<void> }>();

/** Call it after all tests of a file. */
export async function killNodes(): Promise<void> {
  await Promise.all([...running].map((child) => child.kill()));
  running.clear();
}

/** A node in its own process. */
export interface NodeProcess {
  port: number;
  /** Empty if there is an admin. */
  setupCode: string;
  /** With the operator key, unless `token` is given. */
  call(method: string, path: string, body?: unknown, token?: string): Promise<Answer>;
  request(path: string, options: CallOptions): Promise<Answer>;
  /** Opens an authenticated WebSocket. */
  connect(token: string): Promise<TestClient>;
  /** Publishes like an MQTT client. Resolves when the message is durable. */
  say(topic: string, payload: unknown, retain?: boolean): Promise<void>;
  /** From now on, the node knows the MQTT client, such as `device:north`, to be connected. */
  connectClient(identity: string): void;
  /** The commands that this node has published to cameras. */
  commands(): { topic: string; id: string; text: string }[];
  /** Resolves when the node runs the task of this lease. */
  runs(task: string): Promise<void>;
  isRunning(task: string): boolean;
  freeze(): void;
  thaw(): void;
  /** `kill -9`. */
  kill(): Promise<void>;
}

export interface StartOptions extends Pick<NodeOptions, "env" | "simulated"> {
  redisUrl: string;
  /** The same for the nodes of one deployment. */
  prefix: string;
  /** The MQTT clients that the node knows to be connected. Default: none. */
  connected?: readonly string[];
}

export async function startNode({ redisUrl, connected = [], ...given }: StartOptions): Promise<NodeProcess> {
  const env = { ...NO_LIMITS, ...given.env };
  const options: NodeOptions = { ...given, env, url: redisUrl, cluster: FAST, connected };
  const child = startChildProgram<Said | ClientConnected, NodeMessage>(
    "bridge/nodes/node-child",
    JSON.stringify(options),
  );
  running.add(child);
  const messages: NodeMessage[] = [];
  child.onMessage((message) => messages.push(message));
  const all = <Kind extends NodeMessage["kind"]>(kind: Kind) =>
    messages.filter((message): message is Extract<NodeMessage, { kind: Kind }> => message.kind === kind);
  let failure: Error | undefined;
  void child.ended.then((error) => {
    failure = error;
  });
  const ready = await vi.waitUntil(() => failure ?? all("ready")[0]);
  if (ready instanceof Error) throw ready;
  const { port, setupCode = "" } = ready;
  const request = (path: string, options: CallOptions) => call(port, path, options);
  const isRunning = (task: string) =>
    all("logged").findLast((line) => line.task === task && [BEGUN, LOST].includes(line.message))?.message === BEGUN;
  return {
    ...{ port, setupCode },
    request,
    call: (method, path, body, token = OPERATOR_KEY) =>
      request(path, { method, token, ...(body === undefined ? {} : { body }) }),
    connect: (token) => connect(`ws://127.0.0.1:${port}/ws`, token),
    async say(topic, payload, retain = false) {
      const before = all("said").length;
      child.send({ topic, payload, retain });
      await vi.waitUntil(() => all("said").length > before);
    },
    connectClient: (connected) => child.send({ connected }),
    commands: () => all("published").filter(({ topic }) => topic.includes("/commands/")),
    isRunning,
    async runs(task) {
      await vi.waitUntil(() => isRunning(task));
    },
    freeze: () => child.process.kill("SIGSTOP"),
    thaw: () => child.process.kill("SIGCONT"),
    kill: () => child.kill(),
  };
}

/** The first node holds all leases. */
export async function startTwoNodes(options: StartOptions): Promise<[NodeProcess, NodeProcess]> {
  const first = await startNode(options);
  await first.runs("desired-states");
  return [first, await startNode(options)];
}

/** The node that runs the task, and then the other one. */
export async function holderFirst(task: string, nodes: readonly NodeProcess[]): Promise<[NodeProcess, NodeProcess]> {
  const holder = await vi.waitUntil(() => nodes.find((node) => node.isRunning(task)));
  return [holder, nodes.find((node) => node !== holder) ?? holder];
}

/** Repeats a call until it is answered with 2xx, as a client does while Redis restarts or a node has just died. */
export async function untilAccepted(attempt: () => Promise<Answer>): Promise<Answer> {
  return await vi.waitUntil(async () => {
    const answer = await attempt();
    return answer.status < 300 && answer;
  });
}
