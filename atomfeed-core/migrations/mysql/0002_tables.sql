-- The tables of the feed, in the names and columns that deployed systems have. A program of any language publishes with
--   INSERT INTO event_records_queue (uuid, title, object, category) VALUES (…)
-- DDL commits as it goes on MariaDB: each statement can be run again.

-- Publisher: what happened.
CREATE TABLE IF NOT EXISTS event_records (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  uuid VARCHAR(500) NOT NULL,
  title LONGTEXT,
  timestamp DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  uri LONGTEXT,
  object LONGTEXT,
  category VARCHAR(500),
  date_created DATETIME(6) DEFAULT (UTC_TIMESTAMP(6)),
  tags LONGTEXT,
  UNIQUE KEY event_records_uuid_idx (uuid),
  KEY event_records_category_idx (category, id),
  KEY event_records_timestamp_idx (timestamp)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Publisher: what was published and has no place in the order of events yet.
CREATE TABLE IF NOT EXISTS event_records_queue (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  uuid VARCHAR(500) NOT NULL,
  title LONGTEXT,
  timestamp DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  uri LONGTEXT,
  object LONGTEXT,
  category VARCHAR(500),
  date_created DATETIME(6) DEFAULT (UTC_TIMESTAMP(6)),
  tags LONGTEXT,
  UNIQUE KEY event_records_queue_uuid_idx (uuid)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Publisher: from which position (or millisecond) on a page holds how many events (milliseconds).
CREATE TABLE IF NOT EXISTS chunking_history (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  chunk_length BIGINT,
  start BIGINT NOT NULL
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Publisher: written by mark_events alone.
CREATE TABLE IF NOT EXISTS event_records_offset_marker (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  event_id BIGINT,
  event_count BIGINT,
  category VARCHAR(500),
  UNIQUE KEY event_records_offset_marker_category_idx (category)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Consumer: how far each feed has been read.
CREATE TABLE IF NOT EXISTS markers (
  feed_uri VARCHAR(500) NOT NULL PRIMARY KEY,
  last_read_entry_id LONGTEXT,
  feed_uri_for_last_read_entry LONGTEXT
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Consumer: what failed and waits, and each retry that failed.
CREATE TABLE IF NOT EXISTS failed_events (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  feed_uri LONGTEXT,
  failed_at DATETIME(6),
  error_message LONGTEXT,
  event_id LONGTEXT,
  event_content LONGTEXT,
  error_hash_code INT,
  title LONGTEXT,
  retries INT NOT NULL DEFAULT 0,
  tags LONGTEXT,
  KEY failed_events_feed_uri_idx (feed_uri(500), id)
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE TABLE IF NOT EXISTS failed_event_retry_log (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  feed_uri LONGTEXT,
  failed_at DATETIME(6),
  error_message LONGTEXT,
  event_id LONGTEXT,
  event_content LONGTEXT,
  error_hash_code INT,
  KEY failed_event_retry_log_event_idx (event_id(500))
) DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
