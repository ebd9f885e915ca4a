export interface CameraTabProps {
  /** The id of the camera, which the page knows. */
  camera: string;
}
