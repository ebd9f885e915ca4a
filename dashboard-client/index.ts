// The client library with the state of a dashboard, which needs no framework. The React hooks are in react/index.ts.

export * from "./client/index.ts";
export type { AlertState, EndedAlert } from "./state/alert-state.ts";
export type { CameraState, Known } from "./state/camera-state.ts";
export type { ActivityItem, DashboardState, JobState, MetricPoint } from "./state/dashboard-state.ts";
export {
  type ConnectionView,
  createDashboardStore,
  type DashboardStore,
  type DashboardStoreOptions,
  type RealTimeData,
} from "./state/dashboard-store.ts";
export { deleteCachedState, type StateStorage, type StorageChange } from "./state/state-storage.ts";
