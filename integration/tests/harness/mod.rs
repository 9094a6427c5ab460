//! What holds without vrift.

mod inventory;
mod plain;
