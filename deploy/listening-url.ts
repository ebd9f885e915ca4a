/** The address of a port of this machine, for people. */
export function urlOf(scheme: string, host: string, port: number | undefined): string {
  const name = host === "0.0.0.0" || host === "::" ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return `${scheme}://${name}:${port}`;
}
