import type { PictureSink } from "../cameras/camera-driver.ts";
import type { DedupKeys } from "../outbox/outbox.ts";
import type { Pictures } from "./pictures.ts";

export function foundPictures(pictures: Pictures, dedupKeys: DedupKeys, fail: PictureSink["fail"]): PictureSink {
  const keyOf = (name: string): string => `picture/${name}`;
  return {
    has: (name) => dedupKeys.has(keyOf(name)),
    store: (picture) => pictures.takeOver(picture, keyOf(picture.name)),
    keepOnly: (names) => dedupKeys.keepOnly(new Set([...names].map(keyOf))),
    fail,
  };
}
