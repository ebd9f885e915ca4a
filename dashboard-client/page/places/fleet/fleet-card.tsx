import { memo, type ReactNode } from "react";
import { AlertOrTags, Battery, OpenCamera, PictureAge, Storage } from "./camera-facts.tsx";
import { CaptureButton } from "./capture-button.tsx";
import { FleetPicture } from "./fleet-picture.tsx";
import { GapPill, StatePill, shownState } from "./state-pill.tsx";
import { type FleetCamera, useFleetCamera } from "./use-fleet-camera.ts";

/** The widths of pictures, about. A card is 250 to 400 pixels wide. */
const CARD_PIXELS = 320;
const ROW_PIXELS = 92;

interface FleetItemProps {
  id: string;
  /** The place in the whole list, of which only a part is rendered; from 1. */
  position: number;
  size: number;
}

/** A camera of the grid. */
export const FleetCard = memo(function FleetCard(props: FleetItemProps): ReactNode {
  const camera = useFleetCamera(props.id);
  return (
    <article className="fleet-card" {...attributesOf(props, camera)}>
      <div className="fleet-view on-picture">
        <FleetPicture camera={camera} pixels={CARD_PIXELS} />
        <div className="fleet-top">
          <StatePill camera={camera} />
          <GapPill missing={camera.missing} />
        </div>
      </div>
      <div className="fleet-body">
        <div className="fleet-heading">
          <OpenCamera id={camera.id} name={camera.name} />
          <CaptureButton camera={camera} />
        </div>
        <div className="fleet-facts">
          <PictureAge camera={camera} />
          <Battery camera={camera} />
          <Storage camera={camera} />
        </div>
        <AlertOrTags camera={camera} />
      </div>
    </article>
  );
});

/** A camera of the list, in one line, and in two lines on a phone. */
export const FleetRow = memo(function FleetRow(props: FleetItemProps): ReactNode {
  const camera = useFleetCamera(props.id);
  return (
    <article className="fleet-row" {...attributesOf(props, camera)}>
      <FleetPicture camera={camera} pixels={ROW_PIXELS} />
      <div className="fleet-row-name">
        <OpenCamera id={camera.id} name={camera.name} />
        <AlertOrTags camera={camera} />
      </div>
      <div className="fleet-row-state">
        <StatePill camera={camera} />
        <GapPill missing={camera.missing} />
      </div>
      <div className="fleet-facts">
        <PictureAge camera={camera} />
        <Battery camera={camera} />
        <Storage camera={camera} />
      </div>
      <div className="fleet-row-capture">
        <CaptureButton camera={camera} />
      </div>
    </article>
  );
});

/** Of an article in a feed: only a part of the list is in the document. */
function attributesOf({ id, position, size }: FleetItemProps, camera: FleetCamera) {
  return {
    "data-testid": `camera-card-${id}`,
    "data-state": shownState(camera),
    "data-live": camera.live,
    "aria-posinset": position,
    "aria-setsize": size,
    "aria-label": camera.name,
  };
}
