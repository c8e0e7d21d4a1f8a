//! Policies in Cedar, evaluated in this process.
