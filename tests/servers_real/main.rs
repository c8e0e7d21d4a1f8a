//! Real servers: providers with their tokens, keys and outages, gateways, databases, and decision services.
//!
//! `cargo xtask test` and `cargo xtask servers` start them and say where they are. Without them each test says on one
//! line that it is skipped; with `CI=true` it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod browser_storage;
mod cerbos;
mod cerbos_decisions;
mod certificates;
mod cognito;
mod control;
mod cookie_gateway;
mod decision_process;
mod decision_servers;
mod discovery;
mod dpop;
mod drill;
mod forward_auth;
mod forward_auth_mtls;
mod gateway_process;
mod gateways;
mod introspection;
mod issuer_clients;
mod issuer_fronts;
mod issuer_real;
mod keycloak;
mod keycloak_authorization;
mod leash;
mod login_page;
mod logins;
mod opa;
mod opa_decisions;
mod opa_log;
mod openfga;
mod openfga_decisions;
mod outage;
mod own_issuer;
mod parallel_sessions;
mod passkeys;
mod phantom;
mod policies_agree;
mod policy_bundle;
mod policy_filters;
mod provider;
mod quickstart;
mod relay;
mod rotation;
mod rules;
mod scripts;
mod service;
mod service_tokens;
mod setup;
mod sql_sessions;
mod sql_stores;
mod stores;
mod tokens;
