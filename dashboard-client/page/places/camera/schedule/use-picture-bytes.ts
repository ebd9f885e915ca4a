import { useQuery } from "@tanstack/react-query";
import { useServices } from "../../../services.tsx";

const PICTURES = 20;

/**
 * The mean size of the camera's last pictures, from the archive. Without an archive, the size of the last picture that
 * this page has heard of.
 */
export function usePictureBytes(camera: string, lastHeard: number | undefined): number | undefined {
  const { api } = useServices();
  const { data } = useQuery({
    queryKey: ["picture-bytes", camera],
    queryFn: async ({ signal }) => {
      const query = `camera=${encodeURIComponent(camera)}&event=capture.completed&limit=${PICTURES}`;
      return meanBytes(await api.request(`events?${query}`, { signal }));
    },
  });
  return data ?? lastHeard;
}

/** The mean size in an answer of `GET /events`; null if no picture has a size. */
function meanBytes(answer: unknown): number | null {
  const { events } = Object(answer) as { events?: unknown };
  const sizes = (Array.isArray(events) ? events : []).flatMap((event: unknown) => {
    const { data } = Object(event) as { data?: unknown };
    const { size_bytes } = Object(data) as { size_bytes?: unknown };
    return typeof size_bytes === "number" ? [size_bytes] : [];
  });
  return sizes.length === 0 ? null : sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
}
