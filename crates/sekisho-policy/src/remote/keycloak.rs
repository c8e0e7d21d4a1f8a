//! Keycloak's Authorization Services: the provider decides.
