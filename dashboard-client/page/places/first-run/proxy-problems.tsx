import { type ReactNode, useEffect, useState } from "react";
import { list, object, oneOf, text } from "../../../../contract/guards.ts";
import { PROXY_PROBLEMS, type ProxyProblem } from "../../../../contract/setup.ts";
import { useServices } from "../../services.tsx";
import { t, textOf } from "../../text/i18n.ts";
import { useOpenRequest } from "../sign-in/open-request.ts";

const isAnswer = object<{ problems: { problem: ProxyProblem; message: string }[] }>({
  problems: list(
    object<{ problem: ProxyProblem; message: string }>({ problem: oneOf(...PROXY_PROBLEMS), message: text() }),
    PROXY_PROBLEMS.length,
  ),
});

interface ProxyProblemsProps {
  /** Leaves out what does not stop this browser, and interests only an operator. Default: false. */
  onlyBlocking?: boolean;
}

/** Says in plain words what is wrong with the proxy between this browser and the server. Shows nothing otherwise. */
export function ProxyProblems({ onlyBlocking = false }: ProxyProblemsProps): ReactNode {
  const { base } = useServices();
  const opens = useWebSocketOpens(base);
  const address = new URL("setup/proxy", base);
  address.searchParams.set("origin", location.origin);
  if (opens === false) address.searchParams.set("websocket", "failed");
  const { value } = useOpenRequest(opens === undefined ? undefined : address.href, isAnswer);
  const shown = (value?.problems ?? []).filter(({ problem }) => !onlyBlocking || problem !== "untrusted_proxy");
  if (shown.length === 0) return null;
  return (
    <div className="proxy-problems" role="alert">
      <h2>{t("firstRun.proxyTitle")}</h2>
      <ul>
        {shown.map(({ problem, message }) => (
          <li key={problem} data-testid={`proxy-${problem}`}>
            <strong>{textOf("firstRun.proxy", problem)}</strong>
            {/* The names of settings and lines of a configuration are the same in every language. */}
            <span lang="en">{message}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** Whether a WebSocket to the server opens. Undefined: not known yet. */
function useWebSocketOpens(base: string): boolean | undefined {
  const [opens, setOpens] = useState<boolean>();
  useEffect(() => {
    const url = new URL("ws", base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    let ended = false;
    const socket = new WebSocket(url);
    const report = (result: boolean) => {
      if (!ended) setOpens(result);
      ended = true;
      socket.close();
    };
    socket.addEventListener("open", () => report(true));
    socket.addEventListener("error", () => report(false));
    return () => {
      ended = true;
      socket.close();
    };
  }, [base]);
  return opens;
}
