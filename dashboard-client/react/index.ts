// The React hooks and their provider, for programs that use this package.

export { RealTimeProvider } from "./real-time-provider.tsx";
export { type CameraData, useCamera } from "./use-camera.ts";
export { type ChannelEvents, useChannel } from "./use-channel.ts";
export { type CommandProgress, type SentCommand, useCommand } from "./use-command.ts";
export { useConnectionStatus } from "./use-connection-status.ts";
export { useRealTimeData } from "./use-real-time-data.ts";
