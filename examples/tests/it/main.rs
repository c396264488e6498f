//! The example programs as a person runs them: as processes, over HTTP, on SQLite files.

mod adopted;
mod archive;
mod behind_nginx;
mod catch_up;
mod consumer;
mod databases;
mod emr;
mod guarded;
mod import;
mod killed;
mod lab;
mod markers;
mod migrations;
mod nginx;
mod parked;
mod patients;
mod programs;
mod quickstart;
mod refused_databases;
mod same_bytes;
mod sequencer_killed;
mod server;
mod server_killed;
mod standby;
mod strangers;
mod upkeep;
