/** A registered camera or processing service. It signs in with a secret or a certificate. */
export interface Device {
  id: string;
  kind: "camera" | "processing";
  /** When its secret or certificate was last set, milliseconds since 1970. */
  changedAt: number;
}

/** The registered devices, as the broker needs them. In memory: no method waits for a store. */
export interface Devices {
  /** Returns the device when the secret is correct. */
  verify(id: string, secret: string): Device | undefined;
  /** The device that signs in with a certificate of this common name. */
  withCertificate(name: string): Device | undefined;
  get(id: string): Device | undefined;
  /**
   * Calls back with the id of a device that was removed or has another secret or certificate: the device's connections
   * must be closed.
   */
  onChange(listener: (id: string) => void): () => void;
}
