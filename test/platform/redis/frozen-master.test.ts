import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { StoreUnavailableError } from "../../../platform/errors.ts";
import { openRedis } from "../../../platform/redis/connections.ts";
import { startDeployment } from "../../support/redis-deployments.ts";

it("a write fails when a frozen master runs it after its replacement, before most Sentinels know, and no later write reaches this master", async () => {
  const deployment = await startDeployment("Sentinel");
  onTestFinished(() => deployment.remove());
  const redis = openRedis({ url: deployment.url, prefix: "skylapse", logger: pino({ level: "silent" }) });
  onTestFinished(() => redis.close());
  await redis.commands.ready(5_000);
  deployment.master().process.kill("SIGSTOP");
  const written = redis.commands
    .do((client) => client.set("{skylapse}:late", "1"))
    .then(
      () => "acknowledged",
      (error: unknown) => error,
    );

  await deployment.promoted();
  await deployment.bringBack();

  expect(await written).toBeInstanceOf(StoreUnavailableError);
  // The old master takes writes of others for ten seconds more.
  const next = () => redis.commands.do((client) => client.incr("{skylapse}:next")).catch(() => 0);
  await expect.poll(next, { interval: 5, timeout: 20_000 }).toBe(1);
  await expect.poll(() => deployment.read("{skylapse}:next")).toBe("1");
});
