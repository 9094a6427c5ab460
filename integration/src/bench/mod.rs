//! Timings, tables and result files.
