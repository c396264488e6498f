-- Our own tables for those who look after consumers, which stand beside those of the feed. DDL commits as it goes
-- on MariaDB: each statement can be run again.

-- Ours: of each event that is parked, why it failed last and how often, so that many can be told apart fast. A reason is
-- named by a UUID (version 5, of its text).
CREATE TABLE IF NOT EXISTS atomfeed_failures (
  failed_event_id BIGINT NOT NULL PRIMARY KEY,
  feed VARCHAR(36) NOT NULL,
  reason VARCHAR(36) NOT NULL,
  retries BIGINT NOT NULL,
  failed_at DATETIME(6) NOT NULL,
  KEY atomfeed_failures_feed_idx (feed, failed_event_id),
  KEY atomfeed_failures_reason_idx (reason, feed, failed_event_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: why events failed, without what differs from one to the next.
CREATE TABLE IF NOT EXISTS atomfeed_reasons (
  reason VARCHAR(36) NOT NULL PRIMARY KEY,
  text LONGTEXT NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: what somebody has asked a consumer to do, and what came of it. Nothing is ever removed here.
CREATE TABLE IF NOT EXISTS atomfeed_actions (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  feed VARCHAR(36) NOT NULL,
  feed_uri LONGTEXT NOT NULL,
  kind VARCHAR(20) NOT NULL,
  failed_event_id BIGINT,
  event_id LONGTEXT,
  detail LONGTEXT,
  asked_by LONGTEXT NOT NULL,
  why LONGTEXT NOT NULL,
  asked_at DATETIME(6) NOT NULL,
  state VARCHAR(20) NOT NULL,
  is_open SMALLINT NOT NULL,
  changed_at DATETIME(6) NOT NULL,
  place BIGINT NOT NULL DEFAULT 0,
  succeeded BIGINT NOT NULL DEFAULT 0,
  failed BIGINT NOT NULL DEFAULT 0,
  was LONGTEXT,
  outcome LONGTEXT,
  KEY atomfeed_actions_open_idx (feed, is_open, id),
  KEY atomfeed_actions_event_idx (feed, failed_event_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
