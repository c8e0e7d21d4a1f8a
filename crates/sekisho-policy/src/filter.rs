//! Decisions as a filter for a query: which rows may the subject see?
