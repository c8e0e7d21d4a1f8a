//! OPA by its REST data API.
