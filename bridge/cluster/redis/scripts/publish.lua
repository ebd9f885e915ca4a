-- Sends a notice to all nodes.
--
-- Key: `notice-count`. Arguments: channel; notice.

notify(KEYS[1], ARGV[1], ARGV[2])
