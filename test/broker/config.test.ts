import { describe, expect, it } from "vitest";
import { readBrokerConfig } from "../../broker/config.ts";

const read = (env: Record<string, string>) => readBrokerConfig({ env, readFile: () => "" });

describe("the broker's configuration", () => {
  it("needs no setting, and by default listens on this machine only", () => {
    expect(read({})).toEqual({
      host: "127.0.0.1",
      mqttPort: 1883,
      tls: undefined,
      webSocketPort: 8083,
      allowedOrigins: [],
      dataPath: "./data",
      topicRoot: "skylapse/v1",
      maxPayloadBytes: 262_144,
      maxPropertiesBytes: 8192,
      maxConnectBytes: 4096,
      maxClients: 10_000,
      maxConnectionsPerAddress: 1000,
      maxUnauthenticatedPerAddress: 500,
      maxConnectionsPerUser: 100,
      maxConnectsPerMinute: 3000,
      maxUserConnectsPerMinute: 1000,
      rateLimits: { messagesPerSecond: 1000, bytesPerSecond: 1_048_576, pendingBytes: 524_288 },
      maxShareGroups: 1000,
      maxShareGroupsPerUser: 20,
      maxSubscriptions: 500,
      maxWildcards: 100,
      maxSubscriptionsPerUser: 10_000,
      maxSessions: 10_000,
      maxSessionsPerUser: 100,
      maxQueuedBytes: 262_144,
      maxUnsentBytes: 4_194_304,
      maxOfflineMessages: 10_000,
      maxOfflineBytes: 33_554_432,
      maxOfflineLogBytes: 1_073_741_824,
      maxOfflineHours: 168,
      maxRetainedMessages: 100_000,
      maxRetainedPerDevice: 1000,
      maxRetainedBytes: 67_108_864,
      maxRetainedBytesPerDevice: 4_194_304,
      connectTimeoutMs: 10_000,
      drainTimeoutMs: 30_000,
      heartbeatMs: 60_000,
      shared: expect.any(Map),
      sessionHours: 168,
      maxKeepaliveSeconds: 1200,
    });
  });

  it("listens with TLS if it has a certificate and its key", () => {
    expect(read({ TLS_CERT: "c.pem", TLS_KEY: "k.pem", TLS_CLIENT_CA: "ca.pem" }).tls).toEqual({
      port: 8883,
      certPath: "c.pem",
      keyPath: "k.pem",
      clientCaPath: "ca.pem",
    });
  });

  it.each([
    [{ TLS_CERT: "c.pem" }, "TLS_KEY: must be set too when TLS_CERT is"],
    [{ TLS_KEY: "k.pem" }, "TLS_CERT: must be set too when TLS_KEY is"],
    [{ TLS_CLIENT_CA: "ca.pem" }, "TLS_CLIENT_CA: needs TLS_CERT and TLS_KEY"],
    [{ MQTT_PORT: "70000" }, 'MQTT_PORT: must be a port, not "70000"'],
    [{ MQTT_CONNECT_TIMEOUT_MS: "0" }, "MQTT_CONNECT_TIMEOUT_MS: must be at least 1"],
    [{ MAX_MQTT_CLIENTS: "-1" }, "MAX_MQTT_CLIENTS: must not be negative"],
    [{ TOPIC_ROOT: "a/#" }, "TOPIC_ROOT: contains a wildcard"],
  ])("refuses %j, and names the setting", (env, problem) => {
    expect(() => read(env)).toThrow(problem);
  });

  it("by default allows half of an address's connections to be unauthenticated", () => {
    const limit = "MAX_MQTT_UNAUTHENTICATED_PER_ADDRESS";
    expect(read({ MAX_MQTT_CONNECTIONS_PER_ADDRESS: "9" }).maxUnauthenticatedPerAddress).toBe(5);
    expect(read({ MAX_MQTT_CONNECTIONS_PER_ADDRESS: "9", [limit]: "2" }).maxUnauthenticatedPerAddress).toBe(2);
    expect(read({ MAX_MQTT_CONNECTIONS_PER_ADDRESS: "0" }).maxUnauthenticatedPerAddress).toBe(Number.POSITIVE_INFINITY);
  });

  it("reads 0 as no limit", () => {
    const config = read({ MAX_OFFLINE_MESSAGES: "0", MAX_PAYLOAD_BYTES: "0" });
    expect(config.maxOfflineMessages).toBe(Number.POSITIVE_INFINITY);
    expect(config.maxPayloadBytes).toBe(Number.POSITIVE_INFINITY);
  });
});
