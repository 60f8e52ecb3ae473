//! Core dumps.
