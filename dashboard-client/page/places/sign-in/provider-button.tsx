import type { ReactNode } from "react";
import { DASHBOARD } from "../../../../contract/channels.ts";
import { useDashboardStore } from "../../../react/real-time-provider.tsx";
import { rememberPlace } from "../../provider-sign-in.ts";
import { useServices } from "../../services.tsx";
import { t } from "../../text/i18n.ts";

/** Leads to the identity provider, which sends the browser back to the page. */
export function ProviderButton({ name }: { name: string }): ReactNode {
  const { base } = useServices();
  const store = useDashboardStore(DASHBOARD);
  const leave = (): void => {
    // Another user may come back from the provider.
    store.forget();
    rememberPlace();
  };
  return (
    <a className="button primary" href={`${base}auth/oidc/start`} onClick={leave}>
      {t("signIn.withProvider", { name })}
    </a>
  );
}
