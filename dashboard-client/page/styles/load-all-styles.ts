/** Loads the styles of all places. A place that is loaded later calls it before it is shown. */
export async function loadAllStyles(): Promise<void> {
  await import("./later.css");
}
