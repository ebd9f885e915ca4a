import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type TLSSocket, type TlsOptions } from "node:tls";
import type { Logger } from "pino";
import type { ClientAddresses } from "../../platform/client-addresses.ts";
import { LimitedLog } from "../../platform/limited-log.ts";
import { createOrigins } from "../../platform/origins.ts";
import { type Admission, addressOf, type Origin } from "../access/admission.ts";
import type { LinkProbe } from "../access/link-watch.ts";
import { createWebSocketListener } from "./websocket-listener.ts";

/**
 * The kernel probes a TCP connection after this much silence, so that a dead peer without MQTT keep-alive is detected.
 * libuv sets ten probes, one a second: the connection closes after 70 s.
 */
const TCP_KEEPALIVE_MS = 60_000;
const TCP = { noDelay: true, keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_MS } as const;

export interface TlsConfig {
  port: number;
  certPath: string;
  keyPath: string;
  clientCaPath: string | undefined;
}

/** See `broker/config.ts`. */
interface ListenersConfig {
  host: string;
  /** 0 chooses a free port. */
  mqttPort: number;
  tls: TlsConfig | undefined;
  webSocketPort: number;
  allowedOrigins: readonly string[];
  connectTimeoutMs: number;
}

/** For a server without trusted proxies: the peer is the client. */
export const PEER_ADDRESSES: ClientAddresses = { of: ({ socket }) => addressOf(socket), trusts: () => false };

interface ListenersOptions {
  config: ListenersConfig;
  addresses: ClientAddresses;
  admission: Admission;
  maxPacketBytes: number;
  logger: Logger;
  onConnection(connection: Duplex, origin: Origin, request?: IncomingMessage): void;
}

/** A listener could not be opened. The message names the variable, the port and the remedy. */
export class ListenError extends Error {
  override name = "ListenError";
  readonly variable: string;
  readonly port: number;
  readonly code: string | undefined;

  constructor(variable: string, port: number, message: string, cause: Error & { code?: string }) {
    super(message, { cause });
    this.variable = variable;
    this.port = port;
    this.code = cause.code;
  }
}

/** The open ports. `mqtts` is missing without a certificate. */
export interface Ports {
  mqtt?: number;
  mqtts?: number;
  mqttWs?: number;
}

export interface OpenListeners {
  ports: Ports;
  /** Open connections stay open. */
  close(): void;
}

/** Opens all listeners, or none. @throws {ListenError} */
export async function openListeners(options: ListenersOptions): Promise<OpenListeners> {
  const { config } = options;
  const opened: Server[] = [];
  const close = (): void => {
    for (const server of opened) server.close();
  };
  const open = async (server: Server, variable: string, port: number): Promise<number> => {
    const actual = await listen(server, variable, config.host, port);
    opened.push(server);
    return actual;
  };
  try {
    const ports: Ports = {};
    // TLS first: an unreadable certificate is reported before any port is open.
    if (config.tls !== undefined) {
      ports.mqtts = await open(tlsListener(options, config.tls), "MQTT_TLS_PORT", config.tls.port);
    }
    ports.mqtt = await open(tcpListener(options), "MQTT_PORT", config.mqttPort);
    ports.mqttWs = await open(webSocketListener(options), "MQTT_WS_PORT", config.webSocketPort);
    return { ports, close };
  } catch (error) {
    close();
    throw error;
  }
}

function tcpListener({ admission, onConnection }: ListenersOptions): Server {
  return createServer(TCP, (socket) => {
    if (admission.admit(socket)) onConnection(socket, { address: addressOf(socket), transport: "tcp" });
  });
}

function tlsListener({ config, admission, onConnection }: ListenersOptions, tls: TlsConfig): Server {
  const { port, certPath, keyPath, clientCaPath } = tls;
  const requestCert = clientCaPath !== undefined;
  const options: TlsOptions = {
    ...TCP,
    cert: readPem("TLS_CERT", certPath, port),
    key: readPem("TLS_KEY", keyPath, port),
    ...(clientCaPath === undefined ? {} : { ca: readPem("TLS_CLIENT_CA", clientCaPath, port) }),
    ...{ requestCert, rejectUnauthorized: requestCert, minVersion: "TLSv1.2" },
    handshakeTimeout: config.connectTimeoutMs,
  };
  const server = createTlsListener(port, options, (socket) => {
    const certificateName = requestCert ? commonNameOf(socket) : undefined;
    const origin = { address: addressOf(socket), transport: "tls" } as const;
    onConnection(socket, certificateName === undefined ? origin : { ...origin, certificateName });
  });
  server.prependListener("connection", (socket: Socket) => admission.admit(socket));
  // The peer uses no TLS or has no valid certificate.
  server.on("tlsClientError", (_error, socket) => socket.destroy());
  return server;
}

/** Undefined when the certificate has no common name or more than one. */
function commonNameOf(socket: TLSSocket): string | undefined {
  const name: unknown = socket.authorized ? socket.getPeerCertificate().subject?.CN : undefined;
  return typeof name === "string" ? name : undefined;
}

/** @throws {ListenError} the files are not a certificate and its key */
function createTlsListener(port: number, options: TlsOptions, onSocket: (socket: TLSSocket) => void): Server {
  try {
    return createTlsServer(options, onSocket);
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    const advice = "must be PEM files of a certificate and its private key";
    throw new ListenError("TLS_CERT", port, `TLS_CERT, TLS_KEY: ${advice}: ${cause.message}`, cause);
  }
}

function webSocketListener(options: ListenersOptions): Server {
  const { config, addresses, admission, maxPacketBytes, onConnection, logger } = options;
  const isProxy = (socket: Socket): boolean => addresses.trusts(addressOf(socket));
  return createWebSocketListener({
    origins: createOrigins({
      ...{ allowed: config.allowedOrigins, isTrustedProxy: (address) => addresses.trusts(address) },
      log: new LimitedLog(),
      warn: (fields, message) => logger.warn({ ...fields, door: "mqtt over websocket" }, message),
    }),
    // A WebSocket message may contain several packets.
    maxMessageBytes: 2 * maxPacketBytes,
    connectTimeoutMs: config.connectTimeoutMs,
    admit: (socket) => (isProxy(socket) ? admission.admitProxy(socket) : admission.admit(socket)),
    admitRequest: (request) =>
      !isProxy(request.socket) || admission.countAddress(request.socket, addresses.of(request)),
    onConnection: (connection, request, ping) => {
      const probe: LinkProbe = { ping, received: () => request.socket.bytesRead };
      onConnection(connection, { address: addresses.of(request), transport: "websocket", probe }, request);
    },
  });
}

function readPem(variable: string, path: string, port: number): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const cause = error instanceof Error ? error : new Error(String(error));
    throw new ListenError(variable, port, `${variable}: cannot read ${path}: ${cause.message}`, cause);
  }
}

function listen(server: Server, variable: string, host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error & { code?: string }): void => {
      reject(new ListenError(variable, port, `${variable}: ${adviceOf(error, variable, host, port)}`, error));
    };
    server.once("error", failed);
    server.listen({ port, host }, () => {
      server.off("error", failed);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

function adviceOf(error: Error & { code?: string }, variable: string, host: string, port: number): string {
  switch (error.code) {
    case "EADDRINUSE":
      return `port ${port} on ${host} is in use by another program: stop that program, or set ${variable} to a free port`;
    case "EACCES":
      return `this user may not open port ${port}: set ${variable} to a port of at least 1024`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
      return `HOST ${host} is not an address of this machine: set HOST to one of its addresses, or to 0.0.0.0 for all`;
    default:
      return `port ${port} on ${host} cannot be opened: ${error.message}`;
  }
}
