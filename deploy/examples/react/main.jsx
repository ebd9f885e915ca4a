// Shows cameras and takes pictures, on a page of another origin than the server. ALLOWED_ORIGINS of the server must contain
// the origin of this page.
//
//   npm install skylapse-realtime react react-dom vite
//   npx vite                      # then open http://localhost:5173/?server=ws://localhost:8082/ws

import { useState } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "skylapse-realtime/client";
import { RealTimeProvider, useCommand, useConnectionStatus, useRealTimeData } from "skylapse-realtime/react";

const url = new URLSearchParams(location.search).get("server") ?? "ws://localhost:8082/ws";

function Page() {
  const [client, setClient] = useState();
  if (client === undefined)
    return <TokenForm onToken={(token) => setClient(createClient({ url, getToken: () => token }))} />;
  return (
    <RealTimeProvider client={client}>
      <Cameras />
    </RealTimeProvider>
  );
}

function TokenForm({ onToken }) {
  return (
    <form action={(form) => onToken(form.get("token"))}>
      <label>
        Token <input name="token" type="password" autoComplete="off" />
      </label>
      <button type="submit">Connect</button>
    </form>
  );
}

function Cameras() {
  const { cameras, live, asOf } = useRealTimeData();
  const { status } = useConnectionStatus();
  return (
    <>
      <p role="status">
        {status}, {live ? "live" : `last current ${asOf === undefined ? "never" : new Date(asOf).toLocaleTimeString()}`}
      </p>
      <ul>
        {[...cameras.values()].map((camera) => (
          <Camera key={camera.id} camera={camera} />
        ))}
      </ul>
    </>
  );
}

function Camera({ camera }) {
  const { state, send } = useCommand(camera.id);
  return (
    <li>
      {camera.id}: {camera.presence?.value.status ?? "unknown"}{" "}
      <button type="button" disabled={state.status === "pending"} onClick={() => send("capture.now")}>
        Take a picture
      </button>{" "}
      {textOf(state)}
    </li>
  );
}

function textOf(state) {
  switch (state.status) {
    case "idle":
      return "";
    case "pending":
      return state.progress?.status ?? "sending";
    case "done":
      return state.result.status;
    case "failed":
      return String(state.error);
  }
}

createRoot(document.getElementById("page")).render(<Page />);
