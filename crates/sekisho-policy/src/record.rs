//! The record of decisions: a log of events, and metrics.
