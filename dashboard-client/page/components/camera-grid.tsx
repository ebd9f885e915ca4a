import { type ReactNode, useEffect, useState } from "react";
import type { CameraState } from "../../state/camera-state.ts";
import type { RealTimeData } from "../../state/dashboard-store.ts";
import { worstFirst } from "../camera-order.ts";
import type { Pictures } from "../pictures.ts";
import { CameraCard } from "./camera-card.tsx";
import { ErrorBoundary } from "./error-boundary.tsx";

/** One camera is featured (large). The address of the page names this camera, for bookmarks. */
export function CameraGrid({ data, pictures }: { data: RealTimeData; pictures: Pictures }): ReactNode {
  const [chosen, choose] = useChosenCamera();
  const cameras = worstFirst([...data.cameras.values()]);
  const featured = useFeatured(cameras, chosen, data.loaded);
  if (featured === undefined) return data.loaded ? <NoCameras /> : <LoadingCameras />;
  // The featured camera is in the same list as the others, so that a card keeps its picture when it becomes featured.
  const ordered = [featured, ...cameras.filter((camera) => camera !== featured)];
  return (
    <section className="cameras" aria-label="Cameras">
      {ordered.map((camera) => (
        <ErrorBoundary key={camera.id} part={camera.id}>
          <CameraCard
            camera={camera}
            data={data}
            pictures={pictures}
            featured={camera === featured}
            onFeature={() => choose(camera.id)}
          />
        </ErrorBoundary>
      ))}
    </section>
  );
}

function useChosenCamera(): [string, (id: string) => void] {
  const [chosen, setChosen] = useState(() => location.hash.slice(1));
  useEffect(() => {
    const follow = (): void => {
      setChosen(location.hash.slice(1));
      scrollTo({ top: 0 });
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const choose = (id: string): void => {
    history.replaceState(null, "", `#${id}`);
    setChosen(id);
    scrollTo({ top: 0 });
  };
  return [chosen, choose];
}

/**
 * The camera that the user chose, or the first camera with an `about` state, which stays featured when others connect.
 */
function useFeatured(cameras: readonly CameraState[], chosen: string, loaded: boolean): CameraState | undefined {
  const [kept, keep] = useState<string>();
  const featured =
    cameras.find(({ id }) => id === chosen) ??
    cameras.find(({ id }) => id === kept) ??
    cameras.find(({ about }) => about !== undefined) ??
    cameras[0];
  const settled = loaded && featured?.about !== undefined ? featured.id : undefined;
  useEffect(() => {
    if (settled !== undefined) keep(settled);
  }, [settled]);
  return featured;
}

function LoadingCameras(): ReactNode {
  return (
    <section className="cameras" aria-label="Cameras" aria-busy="true">
      <div className="camera" data-featured="true">
        <div className="picture skeleton" />
      </div>
    </section>
  );
}

function NoCameras(): ReactNode {
  return (
    <section className="cameras" aria-label="Cameras">
      <div className="empty">
        <svg viewBox="0 0 120 60" className="empty-scene" aria-hidden="true">
          <circle cx="84" cy="18" r="8" />
          <path d="M6 54 40 16l20 26 10-12 44 24z" />
        </svg>
        <h2>No camera yet</h2>
        <p>A camera appears here as soon as it connects to the broker. The README shows how to connect one.</p>
      </div>
    </section>
  );
}
