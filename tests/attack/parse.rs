//! Group `parse`: base64url, JSON, the compact form and what is taken for it.

use std::time::{Duration, Instant};

use sekisho_core::{Authenticate, Credential};
use sekisho_http::{CredentialSources, HeadParts};
use sekisho_jwt::{Profile, Reject};
use sekisho_tests::{House, accepted, changed, claims, encode, refused, text};
use serde_json::{Value, json};

/// Returns honest claims whose text is one byte longer for each further `filling`, so that each length modulo 3 occurs.
fn payload(filling: usize) -> String {
    text(&changed(claims(), json!({ "jti": "j".repeat(filling + 1) })))
}

/// Signs two parts as they stand, so that only their form is wrong.
fn signed(house: &House, header: &str, payload: &str) -> String {
    house.sign_input(&format!("{header}.{payload}"))
}

/// Spoils each part of an honest token in turn; header and payload are signed as they were spoilt.
fn spoilt(house: &House, spoil: impl Fn(&str) -> Vec<String>) {
    let verifier = house.verifier();
    let mut tried = 0;
    for filling in 0..3 {
        let header = encode(text(&changed(house.header(), json!({ "x": "x".repeat(filling) }))));
        let payload = encode(payload(filling));
        let good = signed(house, &header, &payload);
        accepted(&verifier, &good);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let headers = spoil(&header).into_iter().map(|header| signed(house, &header, &payload));
        let payloads = spoil(&payload).into_iter().map(|payload| signed(house, &header, &payload));
        let signatures = spoil(signature).into_iter().map(|signature| format!("{input}.{signature}"));
        for token in headers.chain(payloads).chain(signatures) {
            assert_eq!(refused(&verifier, &token), Reject::Malformed, "{token}");
            tried += 1;
        }
    }
    assert!(tried >= 3, "nothing was tried");
}

#[test]
fn a063_b64_padding() {
    for house in House::all() {
        spoilt(house, |part| {
            let right = "=".repeat((4 - part.len() % 4) % 4);
            ["=", "==", "===", &right]
                .iter()
                .filter(|padding| !padding.is_empty())
                .map(|padding| format!("{part}{padding}"))
                .chain([format!("={part}"), format!("{}%3D", part)])
                .collect()
        });
    }
}

#[test]
fn a064_b64_std() {
    for house in House::all() {
        let verifier = house.verifier();
        // Bytes whose base64 has both of the letters that the alphabets do not share.
        let claims = text(&changed(claims(), json!({ "note": "???>>>~~~ÿÿÿ" })));
        let (header, payload) = (encode(text(&house.header())), encode(claims));
        assert!(payload.contains('_') || payload.contains('-'));
        accepted(&verifier, &signed(house, &header, &payload));
        let standard = payload.replace('-', "+").replace('_', "/");
        assert_ne!(standard, payload);
        assert_eq!(refused(&verifier, &signed(house, &header, &standard)), Reject::Malformed);
        let good = (0..)
            .map(|number: u32| house.saying(json!({ "jti": number.to_string() })))
            .find(|token| token.rsplit('.').next().unwrap().contains(['-', '_']))
            .unwrap();
        accepted(&verifier, &good);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let standard = signature.replace('-', "+").replace('_', "/");
        assert_eq!(refused(&verifier, &format!("{input}.{standard}")), Reject::Malformed);
    }
}

#[test]
fn a065_b64_space() {
    for house in House::all() {
        spoilt(house, |part| {
            let mut spoilt = Vec::new();
            for letter in [" ", "\n", "\r\n", "\t", "?", "#", "\0", "\u{a0}", "%20", "*"] {
                for place in [0, 1, part.len() / 2, part.len()] {
                    spoilt.push(format!("{}{letter}{}", &part[..place], &part[place..]));
                }
            }
            spoilt
        });
        let verifier = house.verifier();
        let good = house.token();
        for (before, after) in [(" ", ""), ("", " "), ("", "\n"), ("\t", ""), ("\u{feff}", ""), ("Bearer ", "")] {
            assert_eq!(refused(&verifier, &format!("{before}{good}{after}")), Reject::Malformed);
        }
    }
}

#[test]
fn a066_b64_trailing_bits() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for house in House::all() {
        spoilt(house, |part| {
            let unused = match part.len() % 4 {
                2 => 4,
                3 => 2,
                _ => return Vec::new(),
            };
            let (front, last) = part.split_at(part.len() - 1);
            let value = ALPHABET.iter().position(|letter| *letter == last.as_bytes()[0]).unwrap();
            (1..1 << unused).map(|bits| format!("{front}{}", char::from(ALPHABET[value | bits]))).collect()
        });
    }
}

#[test]
fn a067_b64_len1() {
    for house in House::all() {
        spoilt(house, |part| {
            let whole = &part[..part.len() - part.len() % 4];
            vec![format!("{whole}A"), "A".to_owned()]
        });
    }
}

#[test]
fn a068_dup_alg() {
    for house in House::all() {
        let own = house.key.algorithm().name();
        let verifier = house.verifier();
        for header in [
            format!(r#"{{"alg":"none","alg":"{own}"}}"#),
            format!(r#"{{"alg":"{own}","alg":"none"}}"#),
            format!(r#"{{"alg":"{own}","alg":"{own}"}}"#),
            format!(r#"{{"alg":"{own}","\u0061lg":"none"}}"#),
            format!(r#"{{"alg":"{own}","kid":"a","kid":"b"}}"#),
            format!(r#"{{"alg":"{own}","x":{{"a":1,"a":2}}}}"#),
        ] {
            assert_eq!(refused(&verifier, &house.sign(&header, payload(0))), Reject::DuplicateMember, "{header}");
        }
        let good = payload(0);
        let inside = good.trim_end_matches('}');
        for more in [r#""sub":"admin""#, r#""exp":9999999999"#, r#""\u0073ub":"admin""#, r#""x":[{"a":1,"a":1}]"#] {
            let token = house.sign(text(&house.header()), format!("{inside},{more}}}"));
            assert_eq!(refused(&verifier, &token), Reject::DuplicateMember, "{more}");
        }
    }
}

#[test]
fn a071_header_not_object() {
    for house in House::all() {
        let own = text(&house.header());
        for header in [
            "[]",
            "\"x\"",
            "1",
            "null",
            "true",
            "",
            "{",
            "}",
            "{}{}",
            "not json",
            &format!("[{own}]"),
            &format!("{own},"),
        ] {
            assert_eq!(refused(&house.verifier(), &house.sign(header, payload(0))), Reject::Malformed, "{header}");
        }
        assert_eq!(refused(&house.verifier(), &house.sign("{}", payload(0))), Reject::Algorithm);
    }
}

#[test]
fn a072_payload_not_object() {
    for house in House::all() {
        let own = payload(0);
        for payload in [
            "\"text\"",
            "[1]",
            "1",
            "null",
            "not json",
            "{",
            "{\"iss\":",
            &format!("[{own}]"),
            &format!("{own}x"),
            &format!("{own}{own}"),
            &own.replace(':', "="),
            &own.replace('"', "'"),
            &format!("{},}}", own.trim_end_matches('}')),
        ] {
            let token = house.sign(text(&house.header()), payload);
            assert_eq!(refused(&house.verifier(), &token), Reject::Malformed, "{payload}");
        }
    }
}

#[test]
fn a073_payload_bom() {
    for house in House::all() {
        let own = payload(0);
        let wide = |order: fn(u16) -> [u8; 2]| own.encode_utf16().flat_map(order).collect::<Vec<u8>>();
        for payload in [
            [b"\xef\xbb\xbf", own.as_bytes()].concat(),
            [own.as_bytes(), b"\xef\xbb\xbf"].concat(),
            wide(u16::to_le_bytes),
            wide(u16::to_be_bytes),
            [&[0xff, 0xfe][..], &wide(u16::to_le_bytes)].concat(),
        ] {
            let token = house.sign(text(&house.header()), payload);
            assert_eq!(refused(&house.verifier(), &token), Reject::Malformed);
        }
        let header = [b"\xef\xbb\xbf", text(&house.header()).as_bytes()].concat();
        assert_eq!(refused(&house.verifier(), &house.sign(header, &own)), Reject::Malformed);
    }
}

#[test]
fn a074_bad_utf8() {
    for house in House::all() {
        let own = payload(0);
        let inside = own.trim_end_matches('}');
        for more in [
            b"\"x\":\"\xff\"".to_vec(),
            b"\"x\":\"\xc0\xaf\"".to_vec(),
            b"\"x\":\"\xed\xa0\x80\"".to_vec(),
            b"\"x\":\"\xf4\x90\x80\x80\"".to_vec(),
            b"\"\xff\":1".to_vec(),
            br#""x":"\ud800""#.to_vec(),
            br#""x":"\udc00\ud800""#.to_vec(),
            br#""\ud800":1"#.to_vec(),
            br#""x":["\ud83d"]"#.to_vec(),
            b"\"x\":\"\x01\"".to_vec(),
            b"\"x\":\"a\nb\"".to_vec(),
        ] {
            let payload = [inside.as_bytes(), b",", &more, b"}"].concat();
            let token = house.sign(text(&house.header()), payload);
            assert_eq!(refused(&house.verifier(), &token), Reject::Malformed, "{}", String::from_utf8_lossy(&more));
        }
        let token = house.sign(text(&house.header()), format!(r#"{inside},"x":"\ud83d\ude00"}}"#));
        accepted(&house.verifier(), &token);
    }
}

#[test]
fn a075_deep_json() {
    let house = House::ed25519();
    let own = payload(0);
    let inside = own.trim_end_matches('}');
    let deep = |open: &str, close: &str, depth: usize| {
        let nested = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        house.sign(text(&house.header()), format!("{inside},\"x\":{nested}}}"))
    };
    let roomy = house.builder().with_max_token_bytes(65_536).build().unwrap();
    accepted(&roomy, &deep("[", "]", 20));
    for depth in [40, 127, 128, 129, 1_000, 20_000] {
        assert_eq!(refused(&roomy, &deep("[", "]", depth)), Reject::Malformed, "{depth}");
        if depth < 5_000 {
            assert_eq!(refused(&roomy, &deep("{\"a\":", "}", depth)), Reject::Malformed, "{depth}");
        }
    }
    assert_eq!(refused(&roomy, &deep("[", "]", 100_000)), Reject::TooLarge);
    let header = format!(r#"{{"alg":"EdDSA","x":{}1{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(refused(&roomy, &house.sign(header, &own)), Reject::Malformed);
    // On a small stack too.
    let token = deep("[", "]", 20_000);
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    small.spawn(move || assert_eq!(refused(&roomy, &token), Reject::Malformed)).unwrap().join().unwrap();
}

#[test]
fn a076_segments() {
    for house in House::all() {
        let good = house.token();
        let parts: Vec<&str> = good.split('.').collect();
        let (header, payload, signature) = (parts[0], parts[1], parts[2]);
        for token in [
            format!("{header}.{payload}"),
            format!("{good}.{signature}"),
            format!("{good}.{payload}.{signature}"),
            format!("{good}.{good}"),
            format!(".{good}"),
            format!("{good}."),
            format!(".{good}."),
            format!("{header}..{signature}"),
            format!("{header}.{payload}..{signature}"),
            format!(".{payload}.{signature}"),
            ".".to_owned(),
            "..".to_owned(),
            "...".to_owned(),
            "....".to_owned(),
            String::new(),
        ] {
            assert_eq!(refused(&house.verifier(), &token), Reject::Malformed, "{token}");
        }
    }
}

/// Returns the shortest of several runs.
fn fastest(mut run: impl FnMut()) -> Duration {
    let time = || {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    std::iter::repeat_with(time).take(20).min().unwrap()
}

#[test]
fn a077_dots_dos() {
    let verifier = House::rs256().verifier();
    let dots = ".".repeat(1 << 20);
    assert_eq!(refused(&verifier, &dots), Reject::TooLarge);
    let largest = House::rs256().builder().with_max_token_bytes(65_536).build().unwrap();
    assert_eq!(refused(&largest, &dots[..65_536]), Reject::Malformed);
    let ask = |verifier: &sekisho_jwt::Verifier, token: &str| {
        assert!(verifier.verify_now(token, sekisho_tests::NOW).unwrap().is_err());
        assert!(!verifier.recognizes(Credential::bearer(token)));
    };
    assert!(fastest(|| ask(&verifier, &dots)) < Duration::from_millis(1));
    assert!(fastest(|| ask(&largest, &dots[..65_536])) < Duration::from_millis(1));
}

#[test]
fn a078_huge_token() {
    let house = House::ed25519();
    let sized = |size: usize| {
        let token = house.saying(json!({ "x": "" }));
        let filled = house.saying(json!({ "x": "x".repeat((size - token.len()) * 3 / 4) }));
        assert!(filled.len().abs_diff(size) < 8, "{} for {size}", filled.len());
        filled
    };
    let verifier = house.verifier();
    accepted(&verifier, &sized(8_000));
    for size in [8_200, 65_536, 16 << 20] {
        assert_eq!(refused(&verifier, &sized(size)), Reject::TooLarge, "{size}");
    }
    let exact = house.builder().with_max_token_bytes(sized(5_000).len()).build().unwrap();
    let token = sized(5_000);
    accepted(&exact, &token);
    assert_eq!(refused(&exact, &format!("{token}A")), Reject::TooLarge);
    // Refused before anything is decoded: the time does not grow with the size.
    let huge = sized(16 << 20);
    let time = fastest(|| assert!(verifier.verify_now(&huge, sekisho_tests::NOW).unwrap().is_err()));
    assert!(time < Duration::from_millis(1), "{time:?}");
    assert!(house.builder().with_max_token_bytes(65_537).build().is_err(), "no larger limit can be set");
}

/// Returns an honest token in the flattened and in the general form (RFC 7515 §7.2).
fn json_forms(house: &House) -> (Value, Value) {
    let good = house.token();
    let parts: Vec<&str> = good.split('.').collect();
    let flat = json!({ "payload": parts[1], "protected": parts[0], "signature": parts[2] });
    let one = json!({ "protected": parts[0], "signature": parts[2] });
    (flat, json!({ "payload": parts[1], "signatures": [one] }))
}

#[test]
fn a079_json_serialisation() {
    for house in House::all() {
        let (flat, general) = json_forms(house);
        for form in [flat, general] {
            assert_eq!(refused(&house.verifier(), &form.to_string()), Reject::Malformed);
            refused(&house.verifier(), &encode(form.to_string()));
            refused(&house.verifier(), &format!("{}..", encode(form.to_string())));
        }
    }
}

#[test]
fn a080_compact_json_mix() {
    for house in House::all() {
        let good = house.token();
        let evil = encode(text(&changed(claims(), json!({ "sub": "admin" }))));
        let parts: Vec<&str> = good.split('.').collect();
        for name in [format!("  {good}"), good.clone(), format!("{}.", parts[0])] {
            let mixed = json!({ name: "", "protected": parts[0], "payload": evil, "signature": parts[2] });
            assert_eq!(refused(&house.verifier(), &mixed.to_string()), Reject::Malformed);
        }
        let first = format!("{{\"  {good}\":\"\",\"payload\":\"{evil}\"}}");
        assert_eq!(refused(&house.verifier(), &first), Reject::Malformed);
    }
}

#[test]
fn a081_general_multi_sig() {
    for house in House::all() {
        let (_, mut general) = json_forms(house);
        let attacker = House::new(house.key.algorithm());
        let (_, theirs) = json_forms(&attacker);
        let (own, other) = (general["signatures"][0].clone(), theirs["signatures"][0].clone());
        for signatures in [json!([own, other]), json!([other, own]), json!([other])] {
            general["signatures"] = signatures;
            assert_eq!(refused(&house.verifier(), &general.to_string()), Reject::Malformed);
        }
    }
}

#[test]
fn a082_crit_unknown() {
    for house in House::all() {
        for changes in [
            json!({ "crit": ["exp2"], "exp2": 1 }),
            json!({ "crit": [""] }),
            json!({ "crit": [] }),
            json!({ "crit": ["absent"] }),
            json!({ "crit": ["alg"] }),
            json!({ "crit": ["kid"] }),
            json!({ "crit": "exp2", "exp2": 1 }),
            json!({ "crit": null }),
            json!({ "crit": 1 }),
            json!({ "crit": { "exp2": 1 } }),
            json!({ "crit": ["exp2", "exp2"], "exp2": 1 }),
            json!({ "crit": ["b64"], "b64": true }),
        ] {
            assert_eq!(refused(&house.verifier(), &house.under(changes.clone())), Reject::Critical, "{changes}");
        }
    }
}

#[test]
fn a083_b64_false() {
    for house in House::all() {
        for changes in [json!({ "b64": false }), json!({ "b64": false, "crit": ["b64"] }), json!({ "b64": "false" })] {
            let verifier = house.verifier();
            assert_eq!(refused(&verifier, &house.under(changes.clone())), Reject::Critical, "{changes}");
            // The payload not encoded, as the extension has it.
            let header = encode(text(&changed(house.header(), changes)));
            let plain = house.sign_input(&format!("{header}.{}", text(&claims())));
            refused(&verifier, &plain);
            let plain = house.sign_input(&format!("{header}.claims"));
            assert_eq!(refused(&verifier, &plain), Reject::Critical);
        }
    }
}

#[test]
fn a084_typ_cty() {
    let house = House::ed25519();
    let compatible = house.verifier();
    let strict = house.builder().with_profile(Profile::rfc9068()).build().unwrap();
    let proof = house.builder().with_profile(Profile::custom().with_type("dpop+jwt").build()).build().unwrap();
    for (typ, by_compatible, by_strict, by_proof) in [
        (json!("at+jwt"), true, true, false),
        (json!("application/at+jwt"), true, true, false),
        (json!("AT+JWT"), true, true, false),
        (json!("JWT"), true, false, false),
        (json!("REMOVE"), true, false, false),
        (json!("dpop+jwt"), false, false, true),
        (json!("logout+jwt"), false, false, false),
        (json!("secevent+jwt"), false, false, false),
        (json!("token-introspection+jwt"), false, false, false),
        (json!("oauth-authz-req+jwt"), false, false, false),
        (json!("client-authentication+jwt"), false, false, false),
        (json!("kb+jwt"), false, false, false),
        (json!("at+jwt "), false, false, false),
        (json!("JOSE"), false, false, false),
        (json!(""), false, false, false),
    ] {
        let token = house.under(json!({ "typ": typ }));
        for (verifier, taken) in [(&compatible, by_compatible), (&strict, by_strict), (&proof, by_proof)] {
            if taken {
                accepted(verifier, &token);
            } else {
                assert_eq!(refused(verifier, &token), Reject::Type, "{typ}");
            }
        }
    }
    for typ in [json!(null), json!(1), json!(["at+jwt"]), json!({ "at+jwt": 1 })] {
        assert_eq!(refused(&compatible, &house.under(json!({ "typ": typ }))), Reject::Malformed, "{typ}");
    }
}

#[test]
fn a085_nested_depth() {
    for house in House::all() {
        let header = text(&changed(house.header(), json!({ "cty": "JWT" })));
        let roomy = house.builder().with_max_token_bytes(65_536).build().unwrap();
        let mut token = house.token();
        for depth in 1..=50 {
            token = house.sign(&header, &token);
            let reject = refused(&roomy, &token);
            let expected = if token.len() > 65_536 { Reject::TooLarge } else { Reject::Malformed };
            assert_eq!(reject, expected, "{depth}");
            if expected == Reject::TooLarge {
                break;
            }
        }
        // `cty` alone, over claims, changes nothing: no second token is looked for.
        accepted(&roomy, &house.under(json!({ "cty": "JWT" })));
    }
}

#[test]
fn a086_bearer_prefix() {
    let sources = CredentialSources::new();
    let ask = |headers: &[(&str, &[u8])]| {
        let head = HeadParts { method: "GET", path: "/?access_token=x", headers };
        sources.extract(&head).map(|found| found.map(|credential| credential.expose().to_owned()))
    };
    let one = |value: &[u8]| ask(&[("authorization", value)]);
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(one(format!("{scheme} x").as_bytes()), Ok(Some("x".to_owned())));
    }
    assert_eq!(one(b"Bearer  x"), Ok(Some("x".to_owned())), "RFC 9110 §11.4: 1*SP");
    for other in ["Basic x", "DPoP x", "Bearerx", "Negotiate x"] {
        assert_eq!(one(other.as_bytes()), Ok(None), "{other}: no bearer token");
    }
    for bad in [
        "Bearer",
        "Bearer ",
        "Bearer x,y",
        "Bearer x y",
        "Bearer x ",
        "Bearer\tx",
        "Bearer x\r\ny",
        "Bearer \u{e9}",
        "Bearer =",
    ] {
        assert_eq!(one(bad.as_bytes()), Err(Reject::MalformedRequest), "{bad:?}");
    }
    for second in [&b"Bearer x"[..], b"Bearer y", b"Basic x", b""] {
        let both = ask(&[("authorization", b"Bearer x"), ("authorization", second)]);
        assert_eq!(both, Err(Reject::SeveralCredentials));
    }
    assert!(Reject::SeveralCredentials.is_invalid_request() && Reject::MalformedRequest.is_invalid_request());
    // The query never counts, neither alone nor as a second credential.
    assert_eq!(ask(&[]), Ok(None));
    assert_eq!(one(b"Bearer x"), Ok(Some("x".to_owned())));
}
