//! What holds without vrift.

mod chaos;
mod inventory;
mod plain;
