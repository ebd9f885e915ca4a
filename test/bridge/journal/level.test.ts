import { describeJournal } from "./journal-suite.ts";
import { createLevelPlace } from "./level-place.ts";

describeJournal("the journal in LevelDB", createLevelPlace);

// The same tests without recent entries in memory: every replay reads the disk.
describeJournal("the journal in LevelDB, read from disk", async () => {
  const place = await createLevelPlace();
  return { ...place, open: (options) => place.open({ ...options, limits: { ...options?.limits, maxRecentChars: 0 } }) };
});
