//! OPA's bundles: policies and data in one signed archive.
