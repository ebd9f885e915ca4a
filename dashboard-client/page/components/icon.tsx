import type { ReactNode } from "react";

const PATHS = {
  alert: "M12 4 2.8 19.5h18.4L12 4Zm0 6v4.5m0 2.6v.1",
  aperture:
    "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm-2.6 4.5h8.4M7 10.5l4.2-7.3M7.2 16.5 3 9.2m11.6 7.3H6.2m10.8-3-4.2 7.3m4-13.3 4.2 7.3",
  camera:
    "M4 8h3.2L9 5.5h6L16.8 8H20a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1V9a1 1 0 0 1 1-1Zm8 2a3.4 3.4 0 1 0 0 6.8 3.4 3.4 0 0 0 0-6.8Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  chip: "M7 7h10v10H7zM10 3v4m4-4v4m-4 10v4m4-4v4M3 10h4m-4 4h4m10-4h4m-4 4h4",
  clock: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Zm0 4.5V12l3 2",
  disk: "M4 6.5C4 5 7.6 4 12 4s8 1 8 2.5S16.4 9 12 9 4 8 4 6.5Zm0 0v11C4 19 7.6 20 12 20s8-1 8-2.5v-11M4 12c0 1.5 3.6 2.5 8 2.5s8-1 8-2.5",
  dot: "M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5Z",
  film: "M4 5h16v14H4zM8 5v14m8-14v14M4 9.5h4m-4 5h4m8-5h4m-4 5h4",
  full: "M4 9V4h5m6 0h5v5m0 6v5h-5m-6 0H4v-5",
  gap: "M3 12h4.6m8.8 0H21M10.8 8l-2 8m6.4-8-2 8",
  grid: "M4 4h6.5v6.5H4zM13.5 4H20v6.5h-6.5zM4 13.5h6.5V20H4zM13.5 13.5H20V20h-6.5z",
  key: "M14.5 4a5.5 5.5 0 0 0-5.2 7.3L3 17.6V21h3.4v-2.5H9V16h2.2l1.5-1.5A5.5 5.5 0 1 0 14.5 4Zm1.6 3.8v.1",
  link: "M9.5 14.5 14.5 9.5M11 6.5l2-2a4.6 4.6 0 0 1 6.5 6.5l-2 2m-4.5 4.5-2 2A4.6 4.6 0 0 1 4.5 13l2-2",
  list: "M4 6h16M4 12h16M4 18h16",
  moon: "M20 14.2A8.3 8.3 0 0 1 9.8 4a8.3 8.3 0 1 0 10.2 10.2Z",
  pause: "M8 5v14m8-14v14",
  person: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8ZM4.5 20.5a7.5 7.5 0 0 1 15 0",
  picture: "M4 5h16v14H4zm0 11 5-5 4 4 2.5-2.5L20 17m-4.5-8v.1",
  play: "M7 4.5v15l12-7.5-12-7.5Z",
  power: "m13 3-8 11h6l-1 7 8-11h-6l1-7Z",
  question: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18ZM9.3 9.5a2.7 2.7 0 1 1 4 2.4c-.9.5-1.3 1-1.3 2m0 2.9v.1",
  refresh: "M20 6v5h-5M4 18v-5h5m10.2-2A7.5 7.5 0 0 0 6 7.2M4.8 13A7.5 7.5 0 0 0 18 16.8",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13Zm4.8 11.3L20.5 20.5",
  sliders:
    "M4 7h9m5 0h2M4 17h2m5 0h9M15.5 4.8a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4Zm-7 10a2.2 2.2 0 1 0 0 4.4 2.2 2.2 0 0 0 0-4.4Z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4m0-12.8L17 7M7 17l-1.4 1.4",
  unlink: "M11 6.5l2-2a4.6 4.6 0 0 1 6.5 6.5l-2 2m-4.5 4.5-2 2A4.6 4.6 0 0 1 4.5 13l2-2M4 4l16 16",
  wind: "M3 9h10.5a2.5 2.5 0 1 0-2.4-3.2M3 13h15a2.5 2.5 0 1 1-2.4 3.2M3 17h7.5a2 2 0 1 1-1.9 2.6",
} as const;

export type IconName = keyof typeof PATHS;

/** Hidden from screen readers: there is a text beside every icon. */
export function Icon({ name }: { name: IconName }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
