import type { ReactNode } from "react";
import { CaptureNow } from "../../../components/capture-now.tsx";

/** Apart from the large picture, which need not be rendered for the outcome of a command. */
export function CaptureButton({ camera, name }: { camera: string; name: string }): ReactNode {
  return <CaptureNow camera={camera} name={name} />;
}
