/** A registered camera or processing service. */
export interface Device {
  id: string;
  kind: "camera" | "processing";
  /** When the secret or certificate was last set, milliseconds since 1970. */
  changedAt: number;
}

export interface Devices {
  /** @returns undefined for a wrong id or secret */
  verify(id: string, secret: string): Device | undefined;
  /** The device whose certificate has this common name. */
  withCertificate(name: string): Device | undefined;
  get(id: string): Device | undefined;
  /** Calls back when a device was removed or has another secret or certificate. Its connections must be closed. */
  onChange(listener: (id: string) => void): () => void;
}
