//! Policies in Rego, evaluated in this process.
