-- Our own tables, which stand beside those of the feed.
-- DDL commits as it goes on MariaDB: each statement can be run again.

-- Ours: whether the tables beside these are ours (managed) or somebody else's (adopted), and the row
-- under whose lock events get their ids and times.
CREATE TABLE IF NOT EXISTS atomfeed_feed_state (
  id INT NOT NULL PRIMARY KEY,
  owner VARCHAR(20),
  strategy VARCHAR(20),
  sealed_until DATETIME(6),
  last_timestamp DATETIME(6),
  settled_id BIGINT,
  passing_id BIGINT,
  categories_through BIGINT,
  revision BIGINT NOT NULL DEFAULT 0
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO atomfeed_feed_state (id) VALUES (1);

-- Ours: up to and including event_id, the feed (a folded category, or '' for all events) has
-- event_count events.
CREATE TABLE IF NOT EXISTS atomfeed_positions (
  feed VARCHAR(510) NOT NULL,
  event_count BIGINT NOT NULL,
  event_id BIGINT NOT NULL,
  PRIMARY KEY (feed, event_count)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: the first page of a feed that was kept when old events were pruned, and the last event before it.
CREATE TABLE IF NOT EXISTS atomfeed_cuts (
  feed VARCHAR(510) NOT NULL PRIMARY KEY,
  category VARCHAR(500) NOT NULL,
  page BIGINT NOT NULL,
  event_count BIGINT NOT NULL,
  event_id BIGINT NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: after a restore, ids went on above event_id; as many as were lost were passed over.
CREATE TABLE IF NOT EXISTS atomfeed_jumps (
  event_id BIGINT NOT NULL PRIMARY KEY,
  lost BIGINT NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: the positions after after_count, up to event_count, which no event of the feed has for that.
CREATE TABLE IF NOT EXISTS atomfeed_holes (
  feed VARCHAR(510) NOT NULL,
  event_id BIGINT NOT NULL,
  after_count BIGINT NOT NULL,
  event_count BIGINT NOT NULL,
  PRIMARY KEY (feed, event_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: how categories are spelled, and the lower case by which feeds match them.
CREATE TABLE IF NOT EXISTS atomfeed_categories (
  category VARCHAR(500) NOT NULL PRIMARY KEY,
  folded VARCHAR(750) NOT NULL,
  KEY atomfeed_categories_folded_idx (folded)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: which events are of a category, where the table that was adopted has no index on that.
CREATE TABLE IF NOT EXISTS atomfeed_event_categories (
  category VARCHAR(500) NOT NULL,
  event_id BIGINT NOT NULL,
  PRIMARY KEY (category, event_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: what failed_events has no column for; with a feed_uri, a whole row that it cannot hold.
CREATE TABLE IF NOT EXISTS atomfeed_failed_events (
  failed_event_id BIGINT NOT NULL PRIMARY KEY,
  page_uri LONGTEXT,
  updated DATETIME(6),
  published DATETIME(6),
  retries BIGINT NOT NULL DEFAULT 0,
  tags LONGTEXT,
  feed_uri LONGTEXT,
  failed_at DATETIME(6),
  error_message LONGTEXT,
  event_id LONGTEXT,
  event_content LONGTEXT,
  error_hash_code BIGINT,
  title LONGTEXT,
  placed SMALLINT NOT NULL DEFAULT 0,
  event_key LONGTEXT,
  order_key VARCHAR(36),
  due_at DATETIME(6),
  KEY atomfeed_failed_events_order_idx (order_key, failed_event_id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: the rows that failed_event_retry_log cannot hold, or where there is none.
CREATE TABLE IF NOT EXISTS atomfeed_failed_event_retry_log (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  feed_uri LONGTEXT,
  failed_at DATETIME(6),
  error_message LONGTEXT,
  event_id LONGTEXT,
  event_content LONGTEXT,
  error_hash_code BIGINT
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: ids that were passed over since nothing came for them; what comes later is not shown.
CREATE TABLE IF NOT EXISTS atomfeed_gaps (
  first_id BIGINT NOT NULL PRIMARY KEY,
  last_id BIGINT NOT NULL,
  passed_at DATETIME(6) NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Ours: locks that have no other row to be on.
CREATE TABLE IF NOT EXISTS atomfeed_locks (
  name VARCHAR(50) NOT NULL PRIMARY KEY
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT IGNORE INTO atomfeed_locks (name) VALUES ('markers');

-- Ours: what was published and cannot be moved into event_records, with the reason. Ids of the queue may come
-- again, once it was truncated.
CREATE TABLE IF NOT EXISTS atomfeed_set_aside (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  queue_id BIGINT NOT NULL,
  set_aside_at DATETIME(6) NOT NULL,
  error LONGTEXT NOT NULL,
  uuid LONGTEXT,
  title LONGTEXT,
  timestamp DATETIME(6),
  uri LONGTEXT,
  object LONGTEXT,
  category LONGTEXT,
  date_created DATETIME(6),
  tags LONGTEXT
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
