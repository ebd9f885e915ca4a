/** Which archived events a reader may see: the events that the reader's channels carried. */
export type ArchiveAccess =
  | "all"
  | {
      /** The built-in channels, such as `dashboard`. */
      builtIn: readonly string[];
      /** The built-in channels show events of these cameras only, and events of no camera. Undefined: all cameras. */
      onlyCameras: readonly string[] | undefined;
      /** The cameras whose own channel may be read. */
      cameras: "all" | readonly string[];
      /** The channels that the operator has defined. */
      custom: readonly string[];
    }
  /** Every event of these cameras, whatever its channels: for commands, which no channel carries. */
  | { ofCameras: readonly string[] };
