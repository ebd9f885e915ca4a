// The React hook and its provider, for programs that use this package.

export { RealTimeProvider } from "./real-time-provider.tsx";
export { useRealTimeData } from "./use-real-time-data.ts";
