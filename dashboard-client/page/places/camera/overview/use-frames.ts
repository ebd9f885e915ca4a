import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { checked } from "../../../../../contract/guards.ts";
import { isPreviewList } from "../../../../../contract/state-guards.ts";
import type { ApiClient } from "../../../api/api-client.ts";
import { serverNow } from "../../../server-time.ts";
import { useServices } from "../../../services.tsx";
import { type Frame, withFrame } from "./frame-times.ts";

/** The most pictures in the player. If there are more, the server chooses them evenly over the range. */
const MAX_FRAMES = 500;
/** The shortest time between two loads of the list, milliseconds. In between, new pictures are added to the list. */
const RENEW_MS = 60_000;

export interface KeptFrames {
  /** Oldest first. */
  frames: readonly Frame[];
  /** The number of kept pictures in the range. */
  total: number;
}

/**
 * The kept pictures of a camera. A reconnect loads nothing: a new picture says that the list has changed.
 * @param rangeMs the time before now. Undefined: everything that is kept
 * @param latest the newest picture according to the events
 */
export function useFrames(camera: string, rangeMs: number | undefined, latest: Frame | undefined) {
  const { api } = useServices();
  const queries = useQueryClient();
  const range = rangeMs ?? "all";
  const { data, dataUpdatedAt, error, isFetching, refetch } = useQuery({
    queryKey: ["previews", camera, range],
    queryFn: ({ signal }) => requestFrames(api, camera, rangeMs, signal),
    staleTime: Number.POSITIVE_INFINITY,
  });
  const [capture, at] = [latest?.capture, latest?.at];
  useEffect(() => {
    if (capture === undefined || at === undefined || dataUpdatedAt === 0) return;
    const queryKey = ["previews", camera, range];
    const known = queries.getQueryData<KeptFrames>(queryKey);
    if (known === undefined || known.frames.some((frame) => frame.capture === capture)) return;
    if (Date.now() - dataUpdatedAt > RENEW_MS) void queries.invalidateQueries({ queryKey });
    else
      queries.setQueryData(
        queryKey,
        { frames: withFrame(known.frames, { capture, at }), total: known.total + 1 },
        // The list as a whole is as old as before.
        { updatedAt: dataUpdatedAt },
      );
  }, [queries, camera, range, capture, at, dataUpdatedAt]);
  return { kept: data, error, isFetching, retry: refetch };
}

async function requestFrames(
  api: ApiClient,
  camera: string,
  rangeMs: number | undefined,
  signal: AbortSignal,
): Promise<KeptFrames> {
  const query = new URLSearchParams({ frames: String(MAX_FRAMES) });
  if (rangeMs !== undefined) query.set("from", new Date(serverNow() - rangeMs).toISOString());
  const { previews, total } = checked(
    isPreviewList,
    await api.request(`cameras/${camera}/previews?${query}`, { signal }),
  );
  const frames = previews.map(({ capture, taken_at }) => ({ capture, at: Date.parse(taken_at) }));
  return { frames: frames.reverse(), total };
}
