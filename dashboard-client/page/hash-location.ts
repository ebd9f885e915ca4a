import { useSyncExternalStore } from "react";

// The address of a place is behind the `#`, with its filters: `#/events?camera=north`. Such an address works below any path
// of a proxy, needs no rule in the server, and does not collide with the HTTP routes, such as `/cameras/north`.

function subscribe(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  addEventListener("popstate", listener);
  return () => {
    removeEventListener("hashchange", listener);
    removeEventListener("popstate", listener);
  };
}

function parts(): [path: string, search: string] {
  const [path = "", search = ""] = location.hash.replace(/^#/, "").split("?", 2);
  // An address of an earlier version named a camera: `#north`.
  return [path === "" ? "/" : path.startsWith("/") ? path : `/cameras/${path}`, search];
}

export interface NavigateOptions {
  /** The entry of the history is replaced, so that "back" skips the present address. */
  replace?: boolean;
}

export function navigate(to: string, { replace = false }: NavigateOptions = {}): void {
  const before = location.href;
  history[replace ? "replaceState" : "pushState"](null, "", `#${to}`);
  if (location.href !== before) dispatchEvent(new HashChangeEvent("hashchange"));
}

const path = (): string => parts()[0];
const search = (): string => parts()[1];

/** For wouter's `Router`: the path behind the `#`. */
export function useHashPath(): [string, typeof navigate] {
  return [useSyncExternalStore(subscribe, path, path), navigate];
}
useHashPath.hrefs = (to: string): string => `#${to}`;

/** For wouter's `Router`: the query behind the path. */
export function useHashSearch(): string {
  return useSyncExternalStore(subscribe, search, search);
}
