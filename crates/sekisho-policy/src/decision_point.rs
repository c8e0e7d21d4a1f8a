//! An AuthZEN decision point: any authorizer, asked over HTTP by programs in any language.
