import { Store } from "mqtt";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { LONG } from "../../support/long-form.ts";
import { closed, inboxOf, NORTH, SECRET, startTestBroker, temporaryFolder, topic } from "../broker-under-test.ts";
import { idPacket, rawSession, subscribePacket, TYPE } from "../raw-client.ts";

const EVENT = topic("cameras/north/events/capture.completed");

describe("a persistent session", () => {
  const archive = (password: string) => ({ username: "archive", password, clientId: "archive", clean: false });

  it.each([1, 2] as const)(
    "gets the messages published while its client was disconnected, in order, at QoS %i",
    async (qos) => {
      const test = await startTestBroker();
      const options = archive(test.token(["dashboard:read"]));
      const first = await test.client(options);
      await first.subscribeAsync(topic("cameras/#"), { qos });
      await first.endAsync();
      const camera = await test.client(NORTH);
      const names = Array.from({ length: 50 }, (_, index) => String(index));
      await Promise.all(names.map((name) => camera.publishAsync(EVENT, name, { qos: 2 })));
      const { inbox, client } = await test.join(options);
      const received = await inbox.has(50);
      expect(received.map(({ payload }) => payload)).toEqual(names);
      expect(new Set(received.map((message) => message.qos))).toEqual(new Set([qos]));
      await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
      await client.endAsync();
    },
  );

  it.each([1, 2] as const)("gets every message in order while it reconnects repeatedly, at QoS %i", async (qos) => {
    const test = await startTestBroker();
    const options = archive(test.token(["dashboard:read"]));
    const subscribing = await test.client(options);
    await subscribing.subscribeAsync(topic("cameras/#"), { qos });
    await subscribing.endAsync();
    const camera = await test.client(NORTH);
    const count = LONG ? 2000 : 1000;
    // At QoS 2 the client's state of the handshake is part of the session.
    const incomingStore = new Store({ clean: false });
    const publishing = (async () => {
      for (let index = 0; index < count; index += 20) {
        const batch = Array.from({ length: 20 }, (_, offset) => String(index + offset));
        await Promise.all(batch.map((name) => camera.publishAsync(EVENT, name, { qos })));
      }
    })();
    const seen: number[] = [];
    while (seen.at(-1) !== count - 1) {
      const { client, inbox } = await test.join({ ...options, incomingStore });
      await Promise.race([inbox.has(150), publishing.then(() => inbox.has(count - 1 - (seen.at(-1) ?? 0)))]);
      const before = inbox.messages.length;
      client.stream.destroy();
      await closed(client);
      expect(inbox.messages.length).toBeGreaterThanOrEqual(before);
      // Unacknowledged messages are resent.
      for (const { payload } of inbox.messages) if (Number(payload) > (seen.at(-1) ?? -1)) seen.push(Number(payload));
    }
    await publishing;
    expect(seen).toEqual(Array.from({ length: count }, (_, index) => index));
  });

  it("gets a message that is published during its SUBSCRIBE either immediately or not at all", async () => {
    const test = await startTestBroker();
    const options = archive(test.token(["dashboard:read"]));
    const { client, inbox } = await test.join(options);
    const camera = await test.client(NORTH);
    let published = 0;
    const publish = (): Promise<unknown> => camera.publishAsync(EVENT, String(published++), { qos: 1 });
    for (let round = 0; round < 25; round++) {
      const publishing = Array.from({ length: 30 }, publish);
      await client.subscribeAsync(EVENT, { qos: 1 });
      publishing.push(publish());
      await Promise.all(publishing);
      const last = String(published - 1);
      await expect.poll(() => inbox.messages.at(-1)?.payload).toBe(last);
      await client.unsubscribeAsync(EVENT);
    }
    const numbers = inbox.messages.map(({ payload }) => Number(payload));
    expect(numbers).toEqual([...numbers].sort((one, other) => one - other));
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
  });

  it("survives a restart of the broker, with its subscriptions, its queue and the retained messages", async () => {
    const dataPath = temporaryFolder();
    const before = await startTestBroker({ dataPath });
    const options = archive(before.token(["dashboard:read"]));
    const first = await before.client(options);
    await first.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await first.endAsync();
    const camera = await before.client(NORTH);
    await camera.publishAsync(EVENT, "while away", { qos: 1 });
    await camera.publishAsync(topic("cameras/north/about"), "about", { qos: 1, retain: true });
    await before.broker.stop();

    const after = await startTestBroker({ dataPath });
    expect(after.broker.stats()).toMatchObject({ sessions: 1, retainedMessages: 1, offlineMessages: 2 });
    const again = await after.client(NORTH);
    await again.publishAsync(EVENT, "after the restart", { qos: 1 });
    const { inbox } = await after.join(options);
    const received = await inbox.has(3);
    expect(received.map(({ payload }) => payload)).toEqual(["while away", "about", "after the restart"]);
    const viewer = await after.client({ username: "v", password: after.token(["dashboard:read"]) });
    const retained = inboxOf(viewer);
    await viewer.subscribeAsync(topic("cameras/north/about"), { qos: 1 });
    expect(await retained.has(1)).toMatchObject([{ payload: "about", retain: true }]);
  });

  it("gets an unacknowledged message again, with DUP and the same id", async () => {
    const test = await startTestBroker();
    const session = { clientId: "raw", username: "raw", password: test.token(["dashboard:read"]), clean: false };
    const first = await rawSession(test.broker.ports.mqtt, session);
    first.send(subscribePacket([[topic("cameras/#"), 1]]));
    await first.next(TYPE.suback);
    const camera = await test.client(NORTH);
    await camera.publishAsync(EVENT, "one", { qos: 1 });
    const sent = await first.next(TYPE.publish);
    const id = sent.readUInt16BE(2 + EVENT.length);
    first.socket.destroy();
    const second = await rawSession(test.broker.ports.mqtt, session);
    const again = await second.next(TYPE.publish);
    expect(again).toEqual(sent);
    second.send(idPacket(TYPE.puback, id));
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
    const third = await rawSession(test.broker.ports.mqtt, session);
    await camera.publishAsync(EVENT, "two", { qos: 1 });
    expect((await third.next(TYPE.publish)).toString()).toContain("two");
  });

  it("gets the PUBREL, not the message, again after its PUBREC", async () => {
    const test = await startTestBroker();
    const session = { clientId: "raw", username: "raw", password: test.token(["dashboard:read"]), clean: false };
    const first = await rawSession(test.broker.ports.mqtt, session);
    first.send(subscribePacket([[topic("cameras/#"), 2]]));
    await first.next(TYPE.suback);
    const camera = await test.client(NORTH);
    await camera.publishAsync(EVENT, "one", { qos: 2 });
    const id = (await first.next(TYPE.publish)).readUInt16BE(2 + EVENT.length);
    first.send(idPacket(TYPE.pubrec, id));
    await first.next(TYPE.pubrel);
    first.socket.destroy();
    const second = await rawSession(test.broker.ports.mqtt, session);
    expect((await second.next(TYPE.pubrel)).readUInt16BE(0)).toBe(id);
    expect(second.packets).toEqual([]);
    second.send(idPacket(TYPE.pubcomp, id));
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
  });

  it.each([
    [
      "QoS 1 below a wildcard of QoS 0",
      [
        ["#", 0],
        ["events/capture.completed", 1],
      ],
    ],
    [
      "QoS 0 below a wildcard of QoS 1",
      [
        ["#", 1],
        ["events/capture.completed", 0],
      ],
    ],
    [
      "two of QoS 1",
      [
        ["#", 1],
        ["events/+", 1],
      ],
    ],
  ] as const)("with overlapping subscriptions gets each message once: %s", async (_, filters) => {
    const test = await startTestBroker();
    const options = archive(test.token(["dashboard:read"]));
    const { client, inbox } = await test.join(options);
    for (const [filter, qos] of filters) await client.subscribeAsync(topic(`cameras/north/${filter}`), { qos });
    const camera = await test.client(NORTH);
    await camera.publishAsync(EVENT, "while there", { qos: 1 });
    await inbox.has(1);
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(0);
    await client.endAsync();
    await camera.publishAsync(EVENT, "while away", { qos: 1 });
    await expect.poll(() => test.broker.stats().offlineMessages).toBe(1);
    const back = await test.join(options);
    expect((await back.inbox.has(1)).map(({ payload }) => payload)).toEqual(["while away"]);
    await camera.publishAsync(EVENT, "back", { qos: 1 });
    expect((await back.inbox.has(2)).map(({ payload }) => payload)).toEqual(["while away", "back"]);
  });

  it("keeps its other filters when it unsubscribes from a filter that covers them", async () => {
    const test = await startTestBroker();
    const options = archive(test.token(["dashboard:read"]));
    const client = await test.client(options);
    await client.subscribeAsync([topic("cameras/north/#"), EVENT], { qos: 1 });
    await client.unsubscribeAsync(topic("cameras/north/#"));
    await client.endAsync();
    const camera = await test.client(NORTH);
    await camera.publishAsync(EVENT, "kept", { qos: 1 });
    await camera.publishAsync(topic("cameras/north/about"), "not subscribed to any more", { qos: 1 });
    const { inbox } = await test.join(options);
    await inbox.has(1);
    expect(test.broker.stats().sessions).toBe(1);
    expect(inbox.messages.map(({ payload }) => payload)).toEqual(["kept"]);
  });

  it("queues nothing for a subscription of QoS 0, also after a restart", async () => {
    const dataPath = temporaryFolder();
    const before = await startTestBroker({ dataPath });
    const client = await before.client(archive(before.token(["dashboard:read"])));
    await client.subscribeAsync(topic("cameras/#"), { qos: 0 });
    await client.endAsync();
    await before.broker.stop();
    const after = await startTestBroker({ dataPath });
    const camera = await after.client(NORTH);
    await camera.publishAsync(EVENT, "x", { qos: 1 });
    await camera.endAsync();
    expect(after.broker.stats()).toMatchObject({ sessions: 1, offlineMessages: 0 });
  });

  it("ends when its client connects with a clean session", async () => {
    const test = await startTestBroker();
    const options = archive(test.token(["dashboard:read"]));
    const client = await test.client(options);
    await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await client.endAsync();
    const camera = await test.client(NORTH);
    await camera.publishAsync(EVENT, "x", { qos: 1 });
    const { inbox } = await test.join({ ...options, clean: true });
    expect(test.broker.stats()).toMatchObject({ sessions: 0, offlineMessages: 0 });
    expect(inbox.messages).toEqual([]);
  });
});

describe("an unused session", () => {
  it("is discarded after MQTT_SESSION_HOURS, unlike a session in use", async () => {
    const dataPath = temporaryFolder();
    const before = await startTestBroker({ dataPath, env: { MQTT_SESSION_HOURS: "2" } });
    const password = before.token(["dashboard:read"]);
    const away = await before.client({ username: "a", password, clientId: "away", clean: false });
    await away.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await away.endAsync();
    const camera = await before.client(NORTH);
    await camera.publishAsync(EVENT, "x", { qos: 1 });
    await before.broker.stop();

    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_000 });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const hourLater = await startTestBroker({ dataPath, env: { MQTT_SESSION_HOURS: "2" } });
    expect(hourLater.broker.stats()).toMatchObject({ sessions: 1, offlineMessages: 1 });
    await hourLater.broker.stop();

    vi.setSystemTime(Date.now() + 3_600_001);
    const twoHoursLater = await startTestBroker({ dataPath, env: { MQTT_SESSION_HOURS: "2" } });
    await twoHoursLater.logged("expired sessions discarded");
    expect(twoHoursLater.broker.stats()).toMatchObject({ sessions: 0, offlineMessages: 0 });
  });

  it("counts towards MAX_MQTT_SESSIONS, unlike a clean session", async () => {
    const test = await startTestBroker({ env: { MAX_MQTT_SESSIONS: "1" } });
    await test.client({ ...NORTH, clientId: "one", clean: false });
    await expect(test.client({ ...NORTH, clientId: "two", clean: false })).rejects.toMatchObject({ code: 3 });
    await test.client({ ...NORTH, clientId: "two", clean: true });
    await test.client({ ...NORTH, clientId: "one", clean: false });
  });
});

describe("the queue of a disconnected session", () => {
  const options = (password: string) => ({ username: "archive", password, clientId: "archive", clean: false });

  it.each(["33554432", "0"])(
    "drops its oldest messages above MAX_OFFLINE_MESSAGES, and logs the loss once (limit on bytes: %s)",
    async (bytes) => {
      const test = await startTestBroker({ env: { MAX_OFFLINE_MESSAGES: "10", MAX_OFFLINE_BYTES: bytes } });
      const archive = options(test.token(["dashboard:read"]));
      const client = await test.client(archive);
      await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
      await client.endAsync();
      const camera = await test.client(NORTH);
      for (let index = 0; index < 25; index++) await camera.publishAsync(EVENT, String(index), { qos: 1 });
      await expect.poll(() => test.broker.stats()).toMatchObject({ offlineMessages: 10, droppedOfflineMessages: 15 });
      expect(test.log.filter(({ msg }) => msg.includes("session queue full"))).toMatchObject([{ clientId: "archive" }]);
      const { inbox } = await test.join(archive);
      const received = await inbox.has(10);
      expect(received.map(({ payload }) => Number(payload))).toEqual([15, 16, 17, 18, 19, 20, 21, 22, 23, 24]);
    },
  );

  it("drops its oldest messages beyond MAX_OFFLINE_BYTES", async () => {
    const test = await startTestBroker({ env: { MAX_OFFLINE_BYTES: "50000" } });
    const archive = options(test.token(["dashboard:read"]));
    const client = await test.client(archive);
    await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await client.endAsync();
    const camera = await test.client(NORTH);
    for (let index = 0; index < 20; index++) {
      await camera.publishAsync(EVENT, `${index} ${"x".repeat(10_000)}`, { qos: 1 });
    }
    await expect.poll(() => test.broker.stats()).toMatchObject({ offlineMessages: 4, droppedOfflineMessages: 16 });
    expect(test.broker.stats().offlineBytes).toBeLessThanOrEqual(50_000);
    const { inbox } = await test.join(archive);
    const received = await inbox.has(4);
    expect(received.map(({ payload }) => Number.parseInt(payload, 10))).toEqual([16, 17, 18, 19]);
  });

  it("is cut to lower limits at a restart", async () => {
    const dataPath = temporaryFolder();
    const before = await startTestBroker({ dataPath });
    const archive = options(before.token(["dashboard:read"]));
    const client = await before.client(archive);
    await client.subscribeAsync(topic("cameras/#"), { qos: 1 });
    await client.endAsync();
    const camera = await before.client(NORTH);
    for (let index = 0; index < 20; index++) await camera.publishAsync(EVENT, String(index), { qos: 1 });
    await before.broker.stop();
    const after = await startTestBroker({ dataPath, env: { MAX_OFFLINE_MESSAGES: "5" } });
    expect(after.broker.stats().offlineMessages).toBe(5);
    const { inbox } = await after.join(archive);
    expect((await inbox.has(5)).map(({ payload }) => payload)).toEqual(["15", "16", "17", "18", "19"]);
  });

  it("is also bounded while its client is connected and acknowledges nothing", async () => {
    const test = await startTestBroker({ env: { MAX_OFFLINE_MESSAGES: "10" } });
    const password = test.token(["dashboard:read"]);
    const mute = await rawSession(test.broker.ports.mqtt, { clientId: "mute", username: "m", password, clean: false });
    mute.send(subscribePacket([[topic("cameras/#"), 1]]));
    await mute.next(TYPE.suback);
    const camera = await test.client(NORTH);
    for (let index = 0; index < 30; index++) await camera.publishAsync(EVENT, String(index), { qos: 1 });
    // As many as the client may leave unacknowledged, and as many behind them.
    await expect.poll(() => mute.packets.length).toBe(10);
    await expect.poll(() => test.broker.stats()).toMatchObject({ offlineMessages: 20, droppedOfflineMessages: 10 });
  });
});

describe("retained messages", () => {
  it("are replaced, cleared, and found by exact and wildcard filters", async () => {
    const test = await startTestBroker();
    const camera = await test.client(NORTH);
    const retain = { qos: 1, retain: true } as const;
    await camera.publishAsync(topic("cameras/north/state/power"), "old", retain);
    await camera.publishAsync(topic("cameras/north/alerts/cold"), "cold", retain);
    await camera.publishAsync(topic("cameras/north/alerts/cold"), "", retain);
    await camera.publishAsync(topic("cameras/north/state/power"), "new", retain);
    await camera.publishAsync(topic("cameras/north/link"), "online", retain);
    await camera.publishAsync(topic("cameras/north/state/disk"), "full", retain);
    // The messages are stored in order, so the last message is stored when three are stored.
    await expect.poll(() => test.broker.stats().retainedMessages).toBe(3);
    const viewer = await test.client({ username: "v", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(viewer);
    await viewer.subscribeAsync(topic("cameras/north/state/power"), { qos: 1 });
    await inbox.has(1);
    await viewer.subscribeAsync(topic("cameras/+/+"), { qos: 0 });
    await inbox.has(2);
    await viewer.subscribeAsync(topic("#"), { qos: 1 });
    const payloads = (await inbox.has(5)).map(({ payload }) => payload);
    expect(payloads.sort()).toEqual(["full", "new", "new", "online", "online"]);
    expect(inbox.messages.every(({ retain: mark }) => mark)).toBe(true);
  });

  it("are the last messages of many that are published at the same time", async () => {
    const test = await startTestBroker();
    const camera = await test.client(NORTH);
    const state = topic("cameras/north/state/power");
    const sent = Array.from({ length: 100 }, (_, index) => String(index));
    const watcher = await test.client({ username: "w", password: test.token(["dashboard:read"]) });
    const watched = inboxOf(watcher);
    await watcher.subscribeAsync(state, { qos: 1 });
    await Promise.all(sent.map((value) => camera.publishAsync(state, value, { qos: 1, retain: true })));
    // With Redis, messages may be acknowledged before they are dispatched. Waits until all are dispatched, because a
    // new subscriber would get the others live.
    await watched.has(100);
    const viewer = await test.client({ username: "v", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(viewer);
    await viewer.subscribeAsync(state, { qos: 1 });
    expect(await inbox.has(1)).toMatchObject([{ payload: "99", retain: true }]);
  });

  it("reach live subscribers in order among messages that are not retained", async () => {
    const test = await startTestBroker();
    const viewer = await test.client({ username: "v", password: test.token(["dashboard:read"]) });
    const inbox = inboxOf(viewer);
    await viewer.subscribeAsync(topic("cameras/#"), { qos: 1 });
    const camera = await test.client(NORTH);
    const names = Array.from({ length: 100 }, (_, index) => String(index));
    await Promise.all(
      names.map((name, index) =>
        index % 3 === 0
          ? camera.publishAsync(topic(`cameras/north/state/s${name}`), name, { qos: 1, retain: true })
          : camera.publishAsync(EVENT, name, { qos: 1 }),
      ),
    );
    expect((await inbox.has(100)).map(({ payload }) => payload)).toEqual(names);
  });

  it("are kept and updated for at most MAX_RETAINED_MESSAGES topics", async () => {
    const test = await startTestBroker({ env: { MAX_RETAINED_MESSAGES: "2" } });
    const camera = await test.client(NORTH);
    for (const name of ["a", "b", "c", "a"]) {
      await camera.publishAsync(topic(`cameras/north/state/${name}`), name, { qos: 1, retain: true });
    }
    await expect.poll(() => test.broker.stats()).toMatchObject({ retainedMessages: 2, refusedRetained: 1 });
  });
});

describe("wills", () => {
  const will = { topic: topic("cameras/north/link"), payload: Buffer.from("gone"), qos: 1 as const, retain: true };

  it("are not published after a DISCONNECT", async () => {
    const test = await startTestBroker();
    const camera = await test.client({ ...NORTH, will });
    await camera.endAsync();
    await expect.poll(() => test.broker.stats().clients).toBe(0);
    expect(test.ingest.accepted).toEqual([]);
  });

  it("are kept when the broker stops, and are published by the next run if the client does not reconnect", async () => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "50" };
    const before = await startTestBroker({ dataPath, env });
    await before.client({ ...NORTH, clientId: "camera", will });
    await before.client({
      username: "south",
      password: SECRET,
      clientId: "returns",
      will: { ...will, topic: topic("cameras/south/link") },
    });
    await before.broker.stop();
    expect(before.ingest.accepted).toEqual([]);

    // A heartbeat of one second gives the client enough time to reconnect.
    const after = await startTestBroker({ dataPath, env: { MQTT_HEARTBEAT_MS: "1000" } });
    await after.client({ username: "south", password: SECRET, clientId: "returns" });
    await expect
      .poll(() => after.ingest.accepted)
      .toMatchObject([
        { identity: "device:north", topic: will.topic, payload: Buffer.from("gone"), qos: 1, retain: true },
      ]);
  });

  it("of an earlier run are discarded if they are commands, because the sender may have lost the permission", async () => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "50" };
    const before = await startTestBroker({ dataPath, env });
    const command = { topic: topic("cameras/north/commands/reboot"), payload: Buffer.from("{}"), qos: 1 as const };
    const login = { username: "alice", password: before.token(["camera:control"]) };
    await before.client({ ...login, clientId: "alice", will: { ...command, retain: false } });
    await before.client({ ...NORTH, clientId: "camera", will });
    await before.broker.stop();

    const after = await startTestBroker({ dataPath, env });
    // Each will is handled once, or twice if the next scan comes before the will's removal from the store.
    const acts = new Set<string>();
    after.broker.onCarriedOut(({ who, target, outcome }) => acts.add(`${who} ${target} ${outcome}`));
    const accepted = () => new Set(after.ingest.accepted.map((publication) => publication.topic));
    await expect.poll(() => acts).toEqual(new Set(["user:alice camera:north reboot refused"]));
    await expect.poll(accepted).toEqual(new Set([will.topic]));
  });

  it("are published by the next run, also for a connection that had taken over an older connection", async () => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "50" };
    const before = await startTestBroker({ dataPath, env });
    const first = await before.client({ ...NORTH, clientId: "camera", reconnectPeriod: 0, will });
    const takenOver = closed(first);
    await before.client({ ...NORTH, clientId: "camera", will: { ...will, payload: Buffer.from("gone again") } });
    await takenOver;
    await expect.poll(() => before.ingest.accepted.length).toBe(1);
    await before.broker.stop();

    const after = await startTestBroker({ dataPath, env });
    await expect
      .poll(() => after.ingest.accepted)
      .toMatchObject([{ identity: "device:north", payload: Buffer.from("gone again") }]);
  });

  it("of an earlier run are published once, even when publishing takes longer than the interval of the scans", async () => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "50" };
    const before = await startTestBroker({ dataPath, env });
    await before.client({ ...NORTH, clientId: "camera", will });
    await before.broker.stop();
    const after = await startTestBroker({ dataPath, env });
    // Wills are scanned every four heartbeats.
    after.ingest.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return { position: 1, forward: true };
    };
    await expect.poll(() => after.broker.stats().retainedMessages).toBe(1);
    expect(after.ingest.accepted).toHaveLength(1);
  });

  it("of an earlier run are retried when they cannot be written", async () => {
    const dataPath = temporaryFolder();
    const env = { MQTT_HEARTBEAT_MS: "50" };
    const before = await startTestBroker({ dataPath, env });
    await before.client({ ...NORTH, clientId: "camera", will });
    await before.broker.stop();
    const after = await startTestBroker({ dataPath, env });
    after.ingest.answer = () => Promise.reject(new Error("disk full"));
    await expect.poll(() => after.ingest.accepted.length).toBeGreaterThan(0);
    after.ingest.answer = async () => ({ position: 1, forward: true });
    await expect.poll(() => after.broker.stats().retainedMessages).toBe(1);
  });
});
