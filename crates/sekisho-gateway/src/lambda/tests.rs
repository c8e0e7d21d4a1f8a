#![allow(clippy::unwrap_used, reason = "tests")]

use sekisho_core::scope;
use sekisho_testkit::FakeAuthenticator;
use serde_json::{Value, json};

use super::*;

const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/GET/orders";
const NOW: UnixSeconds = UnixSeconds::new(1_800_000_000);

fn authorizer() -> LambdaAuthorizer {
    LambdaAuthorizer::new(FakeAuthenticator).unwrap()
}

/// The event of format 2.0 with this header.
fn http2(authorization: &str) -> Value {
    json!({
        "version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": [authorization], "routeKey": "$default",
        "rawPath": "/orders", "rawQueryString": "page=1", "cookies": ["a=b"],
        "headers": { "authorization": authorization, "header1": "value1,value2" },
        "queryStringParameters": { "page": "1" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "api-id", "authentication": null, "domainName": "x.example",
            "http": { "method": "GET", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "a" },
            "requestId": "id", "routeKey": "$default", "stage": "$default", "timeEpoch": 1_583_348_638_390_u64
        },
        "pathParameters": {}, "stageVariables": null
    })
}

fn http1(authorization: &str) -> Value {
    json!({
        "version": "1.0", "type": "REQUEST", "methodArn": ARN, "identitySource": authorization, "authorizationToken": authorization,
        "resource": "/orders", "path": "/orders", "httpMethod": "GET",
        "headers": { "Authorization": authorization, "Accept": "*/*" },
        "queryStringParameters": {}, "pathParameters": {}, "stageVariables": {},
        "requestContext": { "path": "/orders", "accountId": "123456789012", "stage": "test", "httpMethod": "GET", "apiId": "abcdef123" }
    })
}

fn rest_request(authorization: &str) -> Value {
    json!({
        "type": "REQUEST", "methodArn": ARN, "resource": "/orders", "path": "/orders", "httpMethod": "GET",
        "headers": { "Authorization": authorization }, "multiValueHeaders": { "Authorization": [authorization] },
        "queryStringParameters": null, "requestContext": { "stage": "test" }
    })
}

fn rest_token(token: &str) -> Value {
    json!({ "type": "TOKEN", "methodArn": ARN, "authorizationToken": token })
}

async fn ask(authorizer: &LambdaAuthorizer, event: &Value) -> Value {
    serde_json::from_slice(&authorizer.answer(event.to_string().as_bytes(), NOW).await.unwrap()).unwrap()
}

fn policy(id: &str, effect: &str, context: &Value) -> Value {
    let mut response = json!({
        "principalId": id,
        "policyDocument": {
            "Version": "2012-10-17",
            "Statement": [{ "Action": "execute-api:Invoke", "Effect": effect, "Resource": ARN }]
        }
    });
    if !context.is_null() {
        response["context"] = context.clone();
    }
    response
}

#[tokio::test]
async fn answers_each_format_with_the_documented_response() {
    let context = json!({ "sub": "alice", "iss": "https://id.example", "scope": "a" });
    let allow = policy("alice@https://id.example", "Allow", &context);
    for event in [
        http2("Bearer good"),
        http1("Bearer good"),
        rest_request("Bearer good"),
        rest_token("Bearer good"),
        rest_token("good"),
    ] {
        assert_eq!(ask(&authorizer(), &event).await, allow, "{event}");
    }
    let simple = authorizer().with_simple_responses();
    assert_eq!(ask(&simple, &http2("Bearer good")).await, json!({ "isAuthorized": true, "context": context }));
    assert_eq!(ask(&simple, &http2("Bearer bad")).await, json!({ "isAuthorized": false }));
    // An API with format 1.0 would take a simple response for an error.
    assert_eq!(ask(&simple, &http1("Bearer good")).await, allow);
}

#[tokio::test]
async fn denies_whatever_is_in_doubt() {
    let deny = policy("nobody", "Deny", &Value::Null);
    let mut twice = rest_request("Bearer good");
    twice["multiValueHeaders"] = json!({ "authorization": ["Bearer good", "Bearer good"] });
    let mut otherwise = rest_request("Bearer good");
    otherwise["multiValueHeaders"] = json!({ "AUTHORIZATION": ["Bearer bad"] });
    let mut without = http2("");
    without["headers"] = json!({});
    let mut no_headers = http2("");
    no_headers["headers"] = Value::Null;
    // The identity source alone is no header: what the API took for it need not be the request's own.
    let mut source_only = http2("Bearer good");
    source_only["headers"] = json!({});
    let long = format!("good{}", "x".repeat(17_000));
    for event in [
        http2("Bearer bad"),
        http1("Bearer bad"),
        rest_token("bad"),
        http2("good"),
        http2("Basic good"),
        http2("Bearer good,Bearer good"),
        http2("Bearer good, Bearer good"),
        http2("Bearer "),
        rest_token(""),
        rest_token("Basic good"),
        rest_token("Bearer good good"),
        rest_token("good,good"),
        rest_token("go\nod"),
        rest_token(&long),
        json!({ "type": "TOKEN", "methodArn": ARN }),
        twice,
        otherwise,
        without,
        no_headers,
        source_only,
    ] {
        assert_eq!(ask(&authorizer(), &event).await, deny, "{event}");
    }
}

#[tokio::test]
async fn an_event_of_no_known_format_is_an_error_and_not_a_response() {
    let mut events = vec![
        json!({}),
        json!([]),
        json!({ "type": "TOKEN", "authorizationToken": "good" }),
        json!({ "type": "TOKEN", "methodArn": "*", "authorizationToken": "good" }),
        json!({ "type": "TOKEN", "methodArn": "arn:aws:execute-api:*:*:*/*/*", "authorizationToken": "good" }),
        json!({ "type": "TOKEN", "methodArn": "arn:aws:s3:::bucket/a/b", "authorizationToken": "good" }),
        json!({ "type": "TOKEN", "methodArn": 7, "authorizationToken": "good" }),
        json!({ "type": "TOKEN", "methodArn": ARN, "authorizationToken": ["good"] }),
    ];
    for (member, value) in
        [("version", json!("3.0")), ("version", json!(2.0)), ("type", json!("OTHER")), ("type", Value::Null)]
    {
        let mut event = http2("Bearer good");
        event[member] = value;
        events.push(event);
    }
    for event in events {
        assert!(authorizer().answer(event.to_string().as_bytes(), NOW).await.is_err(), "{event}");
    }
    let twice =
        format!(r#"{{"type":"TOKEN","methodArn":"{ARN}","authorizationToken":"bad","authorizationToken":"good"}}"#);
    let long =
        format!(r#"{{"type":"TOKEN","methodArn":"{ARN}","x":"{}"}}"#, "x".repeat(LambdaAuthorizer::MAX_EVENT_BYTES));
    let deep = format!(r#"{{"type":"TOKEN","methodArn":"{ARN}","x":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    for text in [&twice, &long, &deep, "", "null", "{"] {
        assert!(authorizer().answer(text.as_bytes(), NOW).await.is_err());
    }
}

#[tokio::test]
async fn trouble_on_our_side_is_an_error_that_no_cache_keeps() {
    let error = authorizer().answer(http2("Bearer down").to_string().as_bytes(), NOW).await.unwrap_err();
    assert!(error.is_transient());
    assert!(!LambdaError::event("x").is_transient());
}

#[tokio::test]
async fn a_rule_that_is_not_satisfied_denies_without_context() {
    let strict = authorizer().requiring(scope("b"));
    assert_eq!(ask(&strict, &http1("Bearer good")).await, policy("alice@https://id.example", "Deny", &Value::Null));
    let fits = authorizer().requiring(scope("a"));
    assert!(ask(&fits, &http1("Bearer good")).await["policyDocument"].to_string().contains("Allow"));
}

#[tokio::test]
async fn a_path_that_a_policy_would_read_as_a_pattern_is_denied() {
    for path in ["GET/*", "GET/orders/*", "*/orders", "GET/o?ders", "GET/${aws:userid}"] {
        let mut event = http1("Bearer good");
        event["methodArn"] = format!("arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/{path}").into();
        assert!(ask(&authorizer(), &event).await.to_string().contains("Deny"), "{path}");
    }
}

#[tokio::test]
async fn a_policy_covers_the_stage_only_when_told() {
    let wide = authorizer().covering_stage();
    let answer = ask(&wide, &http1("Bearer good")).await;
    let resource = &answer["policyDocument"]["Statement"][0]["Resource"];
    assert_eq!(resource, "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/*");
    let denied = ask(&wide, &http1("Bearer bad")).await;
    assert_eq!(denied["policyDocument"]["Statement"][0]["Resource"], ARN);
}

#[tokio::test]
async fn claims_go_into_the_context_when_they_are_scalars() {
    let named = authorizer().with_context_claim("iss").with_context_claim("absent").with_context_claim("scope");
    let answer = ask(&named, &http1("Bearer good")).await;
    assert_eq!(answer["context"], json!({ "sub": "alice", "iss": "https://id.example", "scope": "a" }));
}

#[tokio::test]
async fn takes_cookies_where_told_from_their_own_member_of_format_2() {
    let by_cookie = authorizer().with_sources(CredentialSources::new().with_cookie("token").unwrap());
    let mut event = http2("");
    event["headers"] = json!({});
    event["cookies"] = json!(["a=b", "token=good"]);
    assert!(ask(&by_cookie, &event).await.to_string().contains("Allow"));
    event["cookies"] = json!(["token=good", "token=good"]);
    assert!(ask(&by_cookie, &event).await.to_string().contains("Deny"));
    event["cookies"] = json!(["token=good"]);
    event["headers"] = json!({ "authorization": "Bearer good" });
    assert!(ask(&by_cookie, &event).await.to_string().contains("Deny"));
}

#[test]
fn answers_from_memory_or_not_at_all() {
    let parse = |event: Value| AuthorizerEvent::parse(event.to_string().as_bytes()).unwrap();
    assert!(authorizer().authorize_now(&parse(http2("Bearer good-slow")), NOW).is_none());
    assert!(authorizer().authorize_now(&parse(http2("Bearer good")), NOW).unwrap().unwrap().is_allowed());
    assert!(!authorizer().authorize_now(&parse(http2("Bearer bad")), NOW).unwrap().unwrap().is_allowed());
}

#[test]
fn debug_of_an_event_shows_no_header() {
    let event = AuthorizerEvent::parse(http2("Bearer hush").to_string().as_bytes()).unwrap();
    let text = format!("{event:?} {:?}", authorizer());
    assert!(text.contains(ARN) && !text.contains("hush"), "{text}");
}
