-- Ours: the beginning of what the last failure said, so that parked events are shown, and looked for, as they failed last.
ALTER TABLE atomfeed_failures ADD COLUMN message TEXT;
