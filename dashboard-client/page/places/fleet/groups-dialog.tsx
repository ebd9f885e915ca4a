import { type ReactNode, useState } from "react";
import { t } from "../../text/i18n.ts";
import { Dialog } from "../../ui/dialog.tsx";
import { ConfirmDialog } from "../../ui/form-dialog.tsx";
import { GroupForm } from "./group-form.tsx";
import { type CameraGroup, useGroups, useRemoveGroup } from "./groups-api.ts";

type Step =
  | { show: "list" }
  | { show: "form"; group: CameraGroup | undefined }
  | { show: "remove"; group: CameraGroup };

/** Where admins make, change and remove groups of cameras. */
export default function GroupsDialog({ onClose }: { onClose: () => void }): ReactNode {
  const [step, setStep] = useState<Step>({ show: "list" });
  const remove = useRemoveGroup();
  const toList = (): void => setStep({ show: "list" });
  switch (step.show) {
    case "form":
      return (
        <Dialog
          title={step.group === undefined ? t("groups.newGroup") : t("groups.editGroup", { name: step.group.name })}
          onClose={onClose}
        >
          <GroupForm group={step.group} onDone={toList} />
        </Dialog>
      );
    case "remove":
      return (
        <ConfirmDialog
          title={t("groups.removeGroup", { name: step.group.name })}
          description={t("groups.removeGroupText")}
          action={t("groups.remove")}
          onConfirm={() => remove.mutateAsync(step.group.id)}
          onClose={toList}
        />
      );
    case "list":
      return (
        <Dialog title={t("groups.groups")} description={t("groups.groupsText")} onClose={onClose}>
          <GroupList
            onEdit={(group) => setStep({ show: "form", group })}
            onRemove={(group) => setStep({ show: "remove", group })}
          />
          <div className="dialog-actions">
            <button
              type="button"
              className="button primary"
              onClick={() => setStep({ show: "form", group: undefined })}
            >
              {t("groups.newGroup")}
            </button>
          </div>
        </Dialog>
      );
  }
}

interface GroupListProps {
  onEdit: (group: CameraGroup) => void;
  onRemove: (group: CameraGroup) => void;
}

function GroupList({ onEdit, onRemove }: GroupListProps): ReactNode {
  const { data: groups, error } = useGroups();
  if (error !== null) return <p className="form-problem">{t("common.loadingFailed", { reason: error.message })}</p>;
  if (groups === undefined) return <p>{t("common.loading")}</p>;
  if (groups.length === 0) return <p>{t("groups.noGroups")}</p>;
  return (
    <ul className="fleet-groups">
      {groups.map((group) => (
        <li key={group.id}>
          <span className="fleet-group-name">{group.name}</span>
          <span className="fleet-group-size">{t("shell.cameras", { count: group.cameras.length })}</span>
          <button
            type="button"
            className="button"
            aria-label={t("groups.editGroup", { name: group.name })}
            onClick={() => onEdit(group)}
          >
            {t("groups.edit")}
          </button>
          <button
            type="button"
            className="button danger"
            aria-label={t("groups.removeGroup", { name: group.name })}
            onClick={() => onRemove(group)}
          >
            {t("groups.remove")}
          </button>
        </li>
      ))}
    </ul>
  );
}
