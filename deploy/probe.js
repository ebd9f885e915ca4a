// What test-deployment.sh cannot do with curl: WebSocket, MQTT, tokens and load. Needs nothing but Node.js.
// Usage: node probe.js CHECK ARGUMENT…; TOKEN and KEY (the operator key) are read from the environment, because every user
// of a machine sees command lines. Prints one line, and exits with 1 if the check fails.
import { createHash, createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";

const { TOKEN = "", KEY = "", WAIT_MS = "10000" } = process.env;

const CHECKS = {
  /** One event arrives once. */
  receive: async (url) => {
    const socket = await subscribed(url, "dashboard");
    const [event, last] = [`deployment.test.${id()}`, `deployment.test.last.${id()}`];
    const sentAt = performance.now();
    await broadcast(url, event);
    await socket.next((message) => message.event === event, "the event");
    const ms = performance.now() - sentAt;
    await broadcast(url, last);
    await socket.next((message) => {
      if (message.event === event) throw new Error("the event arrived twice");
      return message.event === last;
    }, "the second event");
    socket.close();
    return `arrived once, ${ms.toFixed(0)} ms after the request began`;
  },
  /** A token that is not valid is refused by auth_error. */
  refused: async (url) => {
    const socket = await openSocket(url);
    socket.send({ type: "auth", token: TOKEN });
    const answer = await socket.next(({ type }) => type?.startsWith("auth_"), "auth_error");
    if (answer.type !== "auth_error") throw new Error(`answered ${answer.type} to a wrong token`);
    socket.close();
    return answer.error;
  },
  /** A channel that the token does not grant is refused. */
  forbidden: async (url) => {
    const socket = await authenticated(url);
    socket.send({ type: "subscribe", channel: "dashboard" });
    const answer = await socket.next(({ type }) => type === "subscription_result", "subscription_result");
    if (answer.success) throw new Error("subscribed to a channel without the permission");
    socket.close();
    return answer.error;
  },
  /** A page of another origin cannot connect. */
  origin: async (url) => {
    const opened = await openSocket(url, { Origin: "https://foreign.example" }).catch((error) => error);
    if (opened.status === undefined) {
      if (opened instanceof Error) throw opened;
      opened.close();
      throw new Error("a page of a foreign origin can connect");
    }
    return `answered ${opened.status}`;
  },
  /** Whether MQTT accepts TOKEN as the password. */
  mqtt: async (host, port, wanted, transport) => {
    const code = await connectMqtt(host, Number(port), transport === "tls");
    if (wanted === "accepted" && code !== 0) throw new Error(`refused a valid token with CONNACK ${code}`);
    if (wanted === "refused" && code === 0) throw new Error("accepted a wrong password");
    return `CONNACK ${code}`;
  },
  /** Every dashboard gets every event, once and in order. */
  load: async (url, sockets, events, maxP99Ms) => {
    const name = `deployment.load.${id()}`;
    const times = [];
    const readers = await Promise.all(
      Array.from({ length: Number(sockets) }, async () => {
        const socket = await subscribed(url, "dashboard");
        return { socket, done: readInOrder(socket, name, Number(events), times) };
      }),
    );
    const all = Promise.all(readers.map(({ done }) => done));
    // Awaited after the broadcasts, but may fail earlier.
    all.catch(() => undefined);
    const startedAt = performance.now();
    for (let sent = 0; sent < Number(events); sent += 10)
      await Promise.all(
        Array.from({ length: Math.min(10, Number(events) - sent) }, () => broadcast(url, name, Date.now())),
      );
    await all;
    const seconds = (performance.now() - startedAt) / 1000;
    for (const { socket } of readers) socket.close();
    times.sort((one, other) => one - other);
    const p99 = times[Math.floor(times.length * 0.99)] ?? 0;
    const text = `${times.length} deliveries in ${seconds.toFixed(1)} s, p99 ${p99.toFixed(0)} ms`;
    if (p99 > Number(maxP99Ms)) throw new Error(`${text}: more than ${maxP99Ms} ms`);
    return text;
  },
  /** Prints a token with a valid form that another secret has signed. */
  forge: () => {
    const now = Math.floor(Date.now() / 1000);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const claims = { user_id: "intruder", permissions: ["admin", "dashboard:read"], iat: now, exp: now + 600 };
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${signed}.${createHmac("sha256", randomBytes(32)).update(signed).digest("base64url")}`;
  },
  /** Prints TOKEN with the permission `admin` and its old signature. */
  alter: () => {
    const [header, claims, signature] = TOKEN.split(".");
    const changed = { ...JSON.parse(Buffer.from(claims, "base64url").toString()), permissions: ["admin"] };
    return `${header}.${Buffer.from(JSON.stringify(changed)).toString("base64url")}.${signature}`;
  },
  /** Prints a field of the JSON on the standard input, such as `node.memory_bytes`. */
  field: async (path) => {
    let text = "";
    for await (const chunk of process.stdin) text += chunk;
    const value = path.split(".").reduce((object, name) => object?.[name], JSON.parse(text));
    if (value === undefined) throw new Error(`the response has no ${path}`);
    return String(value);
  },
  /** Prints a claim of TOKEN. */
  claim: (name) => String(JSON.parse(Buffer.from(TOKEN.split(".")[1] ?? "", "base64url").toString())[name]),
};

function id() {
  return randomBytes(6).toString("hex");
}

async function broadcast(url, event, data = null) {
  const response = await fetch(new URL("/broadcast", url), {
    method: "POST",
    headers: { authorization: `Bearer ${KEY}`, "content-type": "application/json" },
    body: JSON.stringify({ channel: "dashboard", message: { event, data } }),
    signal: AbortSignal.timeout(Number(WAIT_MS)),
  });
  if (!response.ok) throw new Error(`POST /broadcast answered ${response.status}: ${await response.text()}`);
}

async function readInOrder(socket, name, events, times) {
  let position = 0;
  for (let read = 0; read < events; read++) {
    const what = `event ${read + 1} of ${events}`;
    const message = await socket.next(({ event }) => event === name, what);
    times.push(Date.now() - message.data);
    if (message.position <= position) throw new Error(`position ${message.position} arrived after ${position}`);
    position = message.position;
  }
}

async function authenticated(url) {
  const socket = await openSocket(url);
  socket.send({ type: "auth", token: TOKEN });
  const answer = await socket.next(({ type }) => type?.startsWith("auth_"), "auth_success");
  if (answer.type !== "auth_success") throw new Error(`answered ${answer.type}: ${answer.error}`);
  return socket;
}

async function subscribed(url, channel) {
  const socket = await authenticated(url);
  socket.send({ type: "subscribe", channel });
  await socket.next(({ type }) => type === "caught_up", "caught_up");
  return socket;
}

/** Opens a WebSocket. An answer other than 101 is an error with `status`. */
async function openSocket(url, headers = {}) {
  const address = new URL("/ws", url);
  const key = randomBytes(16).toString("base64");
  const request = (address.protocol === "https:" ? https : http).request(address, {
    headers: {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": key,
      ...headers,
    },
    timeout: Number(WAIT_MS),
  });
  request.on("timeout", () => request.destroy(new Error("the WebSocket was not opened in time")));
  const upgraded = await new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("upgrade", (response, socket, head) => resolve({ response, socket, head }));
    request.on("response", ({ statusCode }) => {
      request.destroy();
      reject(Object.assign(new Error(`the WebSocket was answered with ${statusCode}`), { status: statusCode }));
    });
    request.end();
  });
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  if (upgraded.response.headers["sec-websocket-accept"] !== accept) throw new Error("the answer is not of a WebSocket");
  return messagesOf(upgraded.socket, upgraded.head);
}

/** Unfragmented frames of less than 4 GiB suffice: the server sends nothing else. */
function messagesOf(socket, head) {
  let bytes = head;
  let failure;
  const queue = [];
  let wake = () => undefined;
  const parse = () => {
    while (bytes.length >= 2) {
      let [length, start] = [bytes[1] & 127, 2];
      if (length === 126) [length, start] = [bytes.length < 4 ? Infinity : bytes.readUInt16BE(2), 4];
      else if (length === 127) [length, start] = [bytes.length < 10 ? Infinity : Number(bytes.readBigUInt64BE(2)), 10];
      if (bytes.length < start + length) return;
      const payload = bytes.subarray(start, start + length);
      const opcode = bytes[0] & 15;
      if (opcode === 1) queue.push(...[JSON.parse(payload.toString())].flat());
      if (opcode === 8) failure ??= new Error("the server closed the WebSocket");
      if (opcode === 9) socket.write(frame(10, payload));
      bytes = bytes.subarray(start + length);
    }
  };
  socket.on("data", (chunk) => {
    bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk]);
    try {
      parse();
    } catch (error) {
      failure ??= error;
    }
    wake();
  });
  socket.on("error", (error) => {
    failure ??= error;
    wake();
  });
  socket.on("close", () => {
    failure ??= new Error("the connection was closed");
    wake();
  });
  parse();
  return {
    send: (message) => socket.write(frame(1, Buffer.from(JSON.stringify(message)))),
    close: () => socket.destroy(),
    async next(isWanted, what) {
      const timer = setTimeout(() => {
        failure ??= new Error(`${what} did not arrive within ${WAIT_MS} ms`);
        wake();
      }, Number(WAIT_MS));
      try {
        for (;;) {
          while (queue.length > 0) {
            const message = queue.shift();
            if (isWanted(message)) return message;
          }
          if (failure !== undefined) throw failure;
          await new Promise((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** A masked frame of at most 64 KiB. */
function frame(opcode, payload) {
  const mask = randomBytes(4);
  const header =
    payload.length < 126
      ? Buffer.from([128 | opcode, 128 | payload.length])
      : Buffer.from([128 | opcode, 128 | 126, payload.length >> 8, payload.length & 255]);
  return Buffer.concat([header, mask, payload.map((byte, index) => byte ^ mask[index % 4])]);
}

/** Connects with MQTT 3.1.1 and returns the code of CONNACK. */
async function connectMqtt(host, port, isTls) {
  const text = (value) => {
    const bytes = Buffer.from(value);
    return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
  };
  const flags = Buffer.from([4, 0b1100_0010, 0, 10]);
  const body = Buffer.concat([
    text("MQTT"),
    flags,
    text(`deployment-test-${id()}`),
    text("deployment-test"),
    text(TOKEN),
  ]);
  const size = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  const socket = isTls ? tls.connect({ host, port, rejectUnauthorized: false }) : net.connect({ host, port });
  socket.setTimeout(Number(WAIT_MS), () => socket.destroy(new Error("MQTT did not answer in time")));
  await once(socket, isTls ? "secureConnect" : "connect");
  socket.write(Buffer.concat([Buffer.from([16, ...size]), body]));
  const data = await Promise.race([once(socket, "data").then(([bytes]) => bytes), once(socket, "close")]);
  socket.destroy();
  if (!Buffer.isBuffer(data) || data[0] !== 32) throw new Error("the answer is not of an MQTT broker");
  return data[3];
}

const [name, ...args] = process.argv.slice(2);
try {
  const check = CHECKS[name];
  if (check === undefined) throw new Error(`unknown check ${name}: one of ${Object.keys(CHECKS).join(", ")}`);
  process.stdout.write(`${await check(...args)}\n`);
  process.exit(0);
} catch (error) {
  // A refused connection to a name with several addresses has one error for each address, and no message.
  const { message, code, cause } = error;
  process.stdout.write(`${[message || code, cause?.code ?? cause?.message].filter(Boolean).join(": ")}\n`);
  process.exit(1);
}
