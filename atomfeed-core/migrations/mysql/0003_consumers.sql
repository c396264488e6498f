-- Our own tables of who consumes, which stand beside those of the feed. A feed is named by a UUID (version 5, of its
-- address), which is short enough for every key. DDL commits as it goes on MariaDB: each statement can be run again.

-- Ours: who follows each feed. Whoever takes it over raises the epoch, and what the one before has not committed fails.
CREATE TABLE IF NOT EXISTS atomfeed_claims (
  feed VARCHAR(36) NOT NULL PRIMARY KEY,
  feed_uri LONGTEXT NOT NULL,
  epoch BIGINT NOT NULL,
  consumer LONGTEXT NOT NULL,
  beats BIGINT NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: events behind the marker that were dealt with before one in front of them was.
CREATE TABLE IF NOT EXISTS atomfeed_completed_events (
  feed VARCHAR(36) NOT NULL,
  event VARCHAR(36) NOT NULL,
  feed_uri LONGTEXT NOT NULL,
  event_id LONGTEXT NOT NULL,
  PRIMARY KEY (feed, event)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: how far each feed was followed when it was looked at last.
CREATE TABLE IF NOT EXISTS atomfeed_feed_status (
  feed VARCHAR(36) NOT NULL PRIMARY KEY,
  feed_uri LONGTEXT NOT NULL,
  seen_at DATETIME(6),
  head_page LONGTEXT,
  head_entry_id LONGTEXT,
  events_behind BIGINT,
  pages_behind BIGINT,
  behind_since DATETIME(6),
  succeeded_at DATETIME(6),
  failed_at DATETIME(6),
  error_message LONGTEXT
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: what became of events in each minute of the last day.
CREATE TABLE IF NOT EXISTS atomfeed_feed_minutes (
  feed VARCHAR(36) NOT NULL,
  minute DATETIME(6) NOT NULL,
  applied BIGINT NOT NULL,
  ignored BIGINT NOT NULL,
  failed BIGINT NOT NULL,
  held BIGINT NOT NULL,
  PRIMARY KEY (feed, minute)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
