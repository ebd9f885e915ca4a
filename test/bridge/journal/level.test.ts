import { describeJournal } from "./journal-suite.ts";
import { createLevelPlace } from "./level-place.ts";

describeJournal("the journal on LevelDB", createLevelPlace);

// The same again with nothing held in memory, so that every replay reads the disk.
describeJournal("the journal on LevelDB, read from disk", async () => {
  const place = await createLevelPlace();
  return { ...place, open: (options) => place.open({ ...options, limits: { ...options?.limits, maxRecentChars: 0 } }) };
});
