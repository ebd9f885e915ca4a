/** A camera or processing service, which signs in without a token. */
export interface Device {
  id: string;
  kind: "camera" | "processing";
  /** Since when what it signs in by is good, milliseconds since 1970. */
  changedAt: number;
}

/** The devices that may connect, as the broker needs them. Known in memory: nothing here waits for a store. */
export interface Devices {
  /** The device, when the secret is its own. */
  verify(id: string, secret: string): Device | undefined;
  /** The device that signs in by a certificate of this name (the subject's common name). */
  withCertificate(name: string): Device | undefined;
  get(id: string): Device | undefined;
  /** Called with the id of a device that is gone, or signs in by something else now: its connections are to end. */
  onChange(listener: (id: string) => void): () => void;
}
