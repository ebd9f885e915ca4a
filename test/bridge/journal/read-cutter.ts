import { once } from "node:events";
import { connect, createServer } from "node:net";

/** A proxy in front of Redis that closes a connection instead of passing on a read of new entries. */
export async function startReadCutter(redisPort: number) {
  let left = 0;
  const proxy = createServer((client) => {
    const upstream = connect(redisPort, "127.0.0.1");
    for (const [socket, peer] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      socket.on("error", () => undefined);
      socket.on("close", () => peer.destroy());
    }
    upstream.on("data", (bytes) => client.write(bytes));
    client.on("data", (bytes) => {
      if (left > 0 && bytes.includes("xread")) {
        left--;
        client.destroy();
      } else upstream.write(bytes);
    });
  });
  await once(proxy.listen(0, "127.0.0.1"), "listening");
  const address = proxy.address();
  return {
    url: `redis://127.0.0.1:${typeof address === "object" ? address?.port : ""}`,
    cutReads: (count: number) => {
      left = count;
    },
    left: () => left,
    close: () => proxy.close(),
  };
}
