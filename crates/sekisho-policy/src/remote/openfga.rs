//! OpenFGA by its own API.
