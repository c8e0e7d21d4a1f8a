//! AuthZEN Authorization API 1.0, as a client: OpenFGA, Cerbos, any decision point.
