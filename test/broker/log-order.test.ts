import { expect, it } from "vitest";
import { inboxOf, startTestBroker, topic } from "./broker-under-test.ts";

it("subscribers with clean and persistent sessions get the publications of clients and of the backend in one order", async () => {
  const { broker, client, join, token } = await startTestBroker();
  const reader = { username: "reader", password: token(["admin"]) };
  const clean = await client(reader);
  const cleanInbox = inboxOf(clean);
  await clean.subscribeAsync(topic("cameras/#"), { qos: 1 });
  const { client: kept, inbox: keptInbox } = await join({ ...reader, clientId: "kept", clean: false });
  await kept.subscribeAsync(topic("cameras/#"), { qos: 1 });
  const publishers = await Promise.all([1, 2, 3].map(() => client({ username: "a", password: token(["admin"]) })));

  const numbers = Array.from({ length: 40 }, (_, n) => n);
  const event = topic("cameras/north/events/x");
  await Promise.all([
    ...publishers.flatMap((publisher, source) =>
      numbers.map((n) => publisher.publishAsync(event, `${source} ${n}`, { qos: n % 2 === 0 ? 1 : 2 })),
    ),
    ...numbers.map((n) =>
      broker.publish({ topic: event, payload: Buffer.from(`backend ${n}`), qos: 1, retain: false }),
    ),
  ]);
  const received = (await cleanInbox.has(160)).map(({ payload }) => payload);
  expect((await keptInbox.has(160)).map(({ payload }) => payload)).toEqual(received);
  for (const source of ["0", "1", "2", "backend"])
    expect(received.filter((text) => text.startsWith(source))).toEqual(numbers.map((n) => `${source} ${n}`));
});

it("a message of QoS 0 does not overtake an acknowledged message of QoS 1", async () => {
  const { client, token } = await startTestBroker();
  const reader = await client({ username: "reader", password: token(["admin"]) });
  const inbox = inboxOf(reader);
  await reader.subscribeAsync("any/where", { qos: 1 });
  const publisher = await client({ username: "a", password: token(["admin"]) });
  for (let n = 0; n < 40; n += 2) {
    await publisher.publishAsync("any/where", `${n}`, { qos: 1 });
    await publisher.publishAsync("any/where", `${n + 1}`, { qos: 0 });
  }
  const received = await inbox.has(40);
  expect(received.map(({ payload, qos }) => [payload, qos])).toEqual(
    received.map((_, n) => [`${n}`, n % 2 === 0 ? 1 : 0]),
  );
});

it.each([1, 2] as const)(
  "a subscriber that is granted QoS 0 gets a message of QoS %i once, also through two filters",
  async (qos) => {
    const { client, token } = await startTestBroker();
    const inboxes = await Promise.all(
      [true, false].map(async (clean) => {
        const clientId = `clean ${clean}`;
        const reader = await client({ username: "reader", password: token(["admin"]), clientId, clean });
        const inbox = inboxOf(reader);
        await reader.subscribeAsync({ "any/#": { qos: 0 }, "any/+": { qos: 0 } });
        return inbox;
      }),
    );
    const publisher = await client({ username: "a", password: token(["admin"]) });
    await publisher.publishAsync("any/where", "1", { qos, retain: true });
    await publisher.publishAsync("any/where", "2", { qos: 0 });
    for (const inbox of inboxes)
      expect(await inbox.has(2)).toMatchObject(
        ["1", "2"].map((payload) => ({ payload, qos: 0, retain: false, dup: false })),
      );
  },
);
