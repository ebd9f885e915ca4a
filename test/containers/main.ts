import { setTimeout as sleep } from "node:timers/promises";
import { demandNothingLost, openDashboard } from "./counts.ts";
import { demandFilm } from "./film.ts";
import * as installation from "./installation.ts";
import { demandMonitoring } from "./monitoring.ts";
import { startNumberedCamera } from "./numbered-camera.ts";
import { demandCleanStops } from "./stop.ts";

/**
 * `npm run test:containers`: builds the image, starts docker-compose.production.yml with podman-compose, and tests what
 * operators do and what may fail. The base images are stand-ins made by bases.sh from Debian's packages. Meanwhile, a
 * camera sends numbered events. The journal, the archive and each dashboard must have each event exactly once.
 */
const { deploy, podman, testDeployment } = installation;
const MAX_IMAGE_MB = 250;

type Step = readonly [title: string, work: () => Promise<string | undefined>];

let secret = "";
let camera: ReturnType<typeof startNumberedCamera>;
const dashboards: ReturnType<typeof openDashboard>[] = [];
const after = (events: number) => camera.acknowledgedAfter(events, 300_000);
/** Events that the backup contains. */
let backedUp: readonly number[] = [];
let firstImage = "";

async function imageIs(isFirst: boolean): Promise<void> {
  const image = await installation.runningImage();
  if ((image === firstImage) !== isFirst) throw new Error(`the servers run the image ${image.slice(0, 12)}`);
}

const STEPS: readonly Step[] = [
  [
    "stand-ins for the base images",
    async () => {
      process.stdout.write(await installation.makeBases());
      await installation.prepareCheckout();
      return "Debian's packages; Grafana, which Debian lacks, by a placeholder";
    },
  ],
  [
    "build and deploy",
    async () => {
      secret = /^DEVICE_SECRET=(.+)$/m.exec(await deploy())?.[1] ?? "";
      if (secret === "") throw new Error("deploy registered no camera");
      firstImage = await installation.runningImage();
      const base = await installation.sizeOf("localhost/stand-in/node");
      const beyond = (await installation.sizeOf(installation.IMAGE)) - base;
      if (beyond > MAX_IMAGE_MB) throw new Error(`the image has ${beyond.toFixed(0)} MB, more than ${MAX_IMAGE_MB}`);
      return `image: ${beyond.toFixed(0)} MB beyond its base of ${base.toFixed(0)} MB`;
    },
  ],
  [
    "the guide's health check",
    () => podman("exec", "skylapse-frontend", "curl", "-fsS", "http://realtime-backend:8082/health"),
  ],
  ["test-deployment.sh in full", () => testDeployment()],
  ["SIGTERM in a container", demandCleanStops],
  [
    "a camera and two dashboards",
    async () => {
      const { CAMERA, PORTS } = installation;
      for (const name of ["dashboard 1", "dashboard 2"]) dashboards.push(openDashboard(name));
      for (const dashboard of dashboards) await dashboard.live();
      camera = startNumberedCamera({ id: CAMERA, secret, port: Number(PORTS.MQTT_TLS_PORT) });
      await after(20);
      return undefined;
    },
  ],
  ["a film", () => demandFilm(camera)],
  [
    "three nodes",
    async () => {
      installation.writeSettings({ REPLICAS: "3" });
      if (/DEVICE_SECRET/.test(await deploy("restart"))) throw new Error("the camera's secret is shown again");
      const nodes = await installation.containersOf("realtime-backend");
      if (nodes.length !== 3) throw new Error(`${nodes.length} nodes run instead of 3`);
      await after(20);
      return testDeployment("health", "websocket", "network", "load");
    },
  ],
  ["Prometheus and the exporter for Redis", () => demandMonitoring(3)],
  [
    "a node is killed",
    async () => {
      const [first = ""] = await installation.containersOf("realtime-backend");
      await podman("kill", first);
      await after(50);
      await podman("start", first);
      await deploy("status").catch(() => sleep(20_000).then(() => deploy("status")));
      return demandNothingLost(camera.acknowledged());
    },
  ],
  [
    "Redis and PostgreSQL restart",
    async () => {
      for (const service of ["redis", "postgres"]) {
        await podman("restart", "-t", "20", await installation.firstOf(service));
        await after(50);
      }
      return demandNothingLost(camera.acknowledged());
    },
  ],
  [
    "back up, tear down, restore",
    async () => {
      backedUp = [...camera.acknowledged()];
      await deploy("backup", installation.BACKUP);
      await after(20);
      await camera.pause();
      await Promise.all(dashboards.map((dashboard) => dashboard.demandAll(camera.acknowledged())));
      await installation.tearDown();
      await deploy("restore", installation.BACKUP);
      for (const dashboard of dashboards) await dashboard.live();
      // The dashboards have received events that the backup does not contain, so they must be told of a gap.
      for (const { gaps } of dashboards)
        if (!gaps.some(({ reason }) => reason === "epoch_changed")) throw new Error("a dashboard was told of no gap");
      camera.resume();
      await after(20);
      return demandNothingLost(backedUp);
    },
  ],
  [
    "upgrade",
    async () => {
      installation.changeDockerfile("LABEL test.upgrade=1");
      await deploy("upgrade");
      await imageIs(false);
      await after(20);
      return demandNothingLost(backedUp);
    },
  ],
  [
    "roll back",
    async () => {
      await deploy("rollback");
      await imageIs(true);
      await after(20);
      return demandNothingLost(backedUp);
    },
  ],
  [
    "an upgrade that does not become healthy",
    async () => {
      installation.changeDockerfile('CMD ["node", "-e", "console.log(process.exit(1))"]');
      await installation.deployBrokenUpgrade();
      await imageIs(true);
      await deploy("status");
      await after(20);
      return demandNothingLost(backedUp);
    },
  ],
  [
    "the dashboards' count",
    async () => {
      await camera.pause();
      const acknowledged = camera.acknowledged();
      await Promise.all(dashboards.map((dashboard) => dashboard.demandAll(acknowledged)));
      return `${acknowledged.length} events, each once at each of ${dashboards.length} dashboards`;
    },
  ],
  ["test-deployment.sh at the end", () => testDeployment("health", "auth", "websocket", "network", "security")],
];

const rows: string[] = [];
let isFailed = false;
for (const [title, work] of STEPS) {
  if (isFailed) {
    rows.push(`not run        ${title}`);
    continue;
  }
  process.stdout.write(`\n=== ${title}\n`);
  const startedAt = performance.now();
  const seconds = () => `${((performance.now() - startedAt) / 1000).toFixed(0)} s`.padStart(6);
  try {
    const detail = await work();
    rows.push(`passed ${seconds()}  ${title.padEnd(42)}${detail ?? ""}`);
  } catch (error) {
    isFailed = true;
    rows.push(`FAILED ${seconds()}  ${title.padEnd(42)}${error instanceof Error ? error.message : error}`);
  }
  process.stdout.write(`=== ${rows.at(-1)}\n`);
}
for (const dashboard of dashboards) dashboard.close();
if (process.env.KEEP_CONTAINERS === undefined) await installation.tearDown();
process.stdout.write(`\n${rows.join("\n")}\n\n${isFailed ? "a step failed" : "all steps passed"}\n`);
process.exit(isFailed ? 1 : 0);
