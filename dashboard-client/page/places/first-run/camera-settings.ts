/** Where devices connect, as `GET /devices` says. */
export interface MqttAddress {
  protocol: string;
  host?: string | undefined;
  port: number;
}

export interface NewCamera {
  id: string;
  secret: string;
  driver: string;
  latitude: number;
  longitude: number;
  timeZone: string;
}

/** @param hostname under which the browser reaches the server */
export function brokerUrl({ protocol, host, port }: MqttAddress, hostname: string): string {
  return `${protocol}://${host ?? hostname}:${port}`;
}

/** The settings of the camera program, as in its file and in its environment. */
export function settingsOf(camera: NewCamera, broker: string): Record<string, string | number> {
  return {
    ...{ CAMERA_ID: camera.id, CAMERA_SECRET: camera.secret, BROKER_URL: broker },
    ...{ LOCATION_LAT: camera.latitude, LOCATION_LON: camera.longitude, TIMEZONE: camera.timeZone },
    CAMERA_DRIVER: camera.driver,
  };
}

/** The command that starts the camera program with the settings, for a shell of POSIX. */
export function commandLine(settings: Readonly<Record<string, string | number>>): string {
  const words = Object.entries(settings).map(([name, value]) => `${name}=${quoted(String(value))}`);
  return [...words, "npx skylapse-camera"].join(" \\\n  ");
}

function quoted(text: string): string {
  return /^[\w./:@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
