import { type ComponentType, lazy } from "react";
import { loadAllStyles } from "./styles/load-all-styles.ts";
import { loadAllTexts } from "./text/i18n.ts";

/** A part that is loaded when somebody opens it, together with all texts and styles, and the cache of HTTP answers. */
export function later<Props extends object>(
  load: () => Promise<{ default: ComponentType<Props> }>,
): ComponentType<Props> {
  return lazy(async () => {
    const [{ ApiProvider }, { default: Part }] = await Promise.all([
      import("./api/api-provider.tsx"),
      load(),
      loadAllTexts(),
      loadAllStyles(),
    ]);
    const WithApi = (props: Props) => (
      <ApiProvider>
        <Part {...props} />
      </ApiProvider>
    );
    return { default: WithApi };
  });
}
