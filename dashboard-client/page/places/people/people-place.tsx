import type { ReactNode } from "react";
import { useLocation } from "wouter";
import type { RealTimeData } from "../../../state/dashboard-store.ts";
import { usePlaceTitle } from "../../shell/page-title.ts";
import { t } from "../../text/i18n.ts";
import { Tabs } from "../../ui/tabs.tsx";
import { useDashboard } from "../../use-dashboard.ts";
import { Accounts } from "./accounts.tsx";
import { AuditLog } from "./audit-log.tsx";
import { Devices } from "./devices.tsx";
import { Integrations } from "./integrations.tsx";

const NAMES = ["accounts", "integrations", "devices", "audit"] as const;
const CONTENTS = { accounts: Accounts, integrations: Integrations, devices: Devices, audit: AuditLog };

const rightsPart = ({ grants, live }: RealTimeData) => ({ admin: grants.admin, live });

/** `/people/accounts`, `/people/integrations`, `/people/devices` and `/people/audit`: for admins. */
export default function PeoplePlace(): ReactNode {
  const { admin, live } = useDashboard(rightsPart);
  const [path, navigate] = useLocation();
  const shown = NAMES.find((name) => path === `/people/${name}`) ?? "accounts";
  usePlaceTitle(t("place.people"));
  return (
    <div className="place" data-live={live}>
      <h1>{t("place.people")}</h1>
      {!admin && live ? (
        <p>{t("people.adminsOnly")}</p>
      ) : (
        <Tabs
          label={t("place.people")}
          value={shown}
          onChange={(name) => navigate(`/people/${name}`)}
          tabs={NAMES.map((name) => {
            const Content = CONTENTS[name];
            return { name, title: t(`people.tab.${name}`), content: <Content /> };
          })}
        />
      )}
    </div>
  );
}
