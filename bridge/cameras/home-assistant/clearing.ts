import { discoveryTopic } from "../../../contract/home-assistant.ts";
import { type TopicTree, topicTree } from "../../../contract/topics.ts";
import type { BrokerLink } from "../../broker-link/broker-link.ts";
import type { Documents } from "../../cluster/cluster.ts";
import { placeIn } from "./announced-camera.ts";

/** The collection of the announced cameras. The name is on disk and in Redis: it must not change. */
export const ANNOUNCED = "home-assistant";

interface ClearingOptions {
  documents: Pick<Documents, "list" | "delete">;
  tree: TopicTree;
  publishToMqtt: BrokerLink["publish"];
}

/** Clears what was announced with other settings. @returns the cameras that are announced with the present settings */
export async function clearOutdated({ documents, tree, publishToMqtt }: ClearingOptions): Promise<string[]> {
  const current: string[] = [];
  for (const { key: camera, value } of await documents.list(ANNOUNCED)) {
    const place = placeIn(value);
    if (place !== undefined && place.root === tree.root && place.prefix === tree.discoveryPrefix) current.push(camera);
    else {
      if (place !== undefined) await clear(camera, topicTree(place.root, place.prefix), publishToMqtt);
      await documents.delete(ANNOUNCED, camera);
    }
  }
  return current;
}

/** Clears what is retained about a camera. */
export async function clear(camera: string, tree: TopicTree, publishToMqtt: BrokerLink["publish"]): Promise<void> {
  const topics = [
    tree.build({ kind: "home-assistant", of: camera, name: "state" }),
    tree.build({ kind: "home-assistant", of: camera, name: "picture" }),
  ];
  // The announcement first: Home Assistant then removes the device, and shows no empty state.
  if (tree.discoveryPrefix !== undefined) topics.unshift(discoveryTopic(tree.discoveryPrefix, tree.root, camera));
  for (const topic of topics) await publishToMqtt({ topic, payload: Buffer.alloc(0), qos: 1, retain: true });
}
