import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { HistoryTurns, MAX_OPEN_PER_CALLER } from "../../../bridge/http/history-turns.ts";

/** A real server, whose responses stay open. @returns a function that begins a request, and ends it if `leave` is called */
async function startServer() {
  const responses: ServerResponse[] = [];
  const server = createServer((_request, response) => {
    responses.push(response);
    response.flushHeaders();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return async () => {
    const abort = new AbortController();
    await fetch(`http://127.0.0.1:${port}/`, { signal: abort.signal });
    const response = responses.at(-1);
    if (response === undefined) throw new Error("the server saw no request");
    const left = once(response, "close");
    return {
      response,
      async leave() {
        abort.abort();
        await left;
      },
    };
  };
}

test("a user has some open requests, and a client that leaves makes place for another", async () => {
  const request = await startServer();
  const turns = new HistoryTurns();
  const open = [];
  for (let n = 0; n < MAX_OPEN_PER_CALLER; n++) open.push(await request());
  for (const { response } of open) turns.enter("user:greedy", response);
  const next = await request();
  expect(() => turns.enter("user:greedy", next.response)).toThrow(/At most 8 requests of one user/);
  turns.enter("user:other", next.response);
  await open[0]?.leave();
  turns.enter("user:greedy", (await request()).response);
  const late = await request();
  await late.leave();
  expect(() => turns.enter("user:third", late.response)).toThrow(/closed the connection/);
});

test("the queries of another user wait for two queries of the first user at most", async () => {
  const request = await startServer();
  const turns = new HistoryTurns();
  const { response } = await request();
  const started: string[] = [];
  const ends: (() => void)[] = [];
  const query = (caller: string, name: string, of = response) =>
    turns.query(caller, of, () => {
      started.push(name);
      return new Promise<void>((resolve) => ends.push(resolve));
    });
  const all = ["a", "b", "c"].map((name) => query("user:greedy", name));
  const client = await request();
  const abandoned = expect(query("user:greedy", "d", client.response)).rejects.toThrow(/closed the connection/);
  all.push(query("user:other", "e"));
  await client.leave();
  expect(started).toEqual(["a", "b", "e"]);
  for (let next = ends.shift(); next !== undefined; next = ends.shift()) {
    next();
    await new Promise(setImmediate);
  }
  await Promise.all(all);
  await abandoned;
  expect(started).toEqual(["a", "b", "e", "c"]);
});
