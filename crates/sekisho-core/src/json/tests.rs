use serde::Deserialize;

use super::*;

fn parse(text: &str) -> Result<JsonObject, JsonError> {
    JsonObject::parse(text.as_bytes().to_vec())
}

#[test]
fn reads_members_of_every_kind() {
    let object = parse(r#" {"s":"x","n":1.5,"b":true,"z":null,"a":["p","q"],"o":{"in":"side"}} "#).unwrap();
    assert_eq!(object.len(), 6);
    assert_eq!(object.get("s").unwrap().as_str().unwrap(), "x");
    assert_eq!(object.get("n").unwrap().as_numeric_date(), Some(1));
    assert_eq!(object.get("b").unwrap().as_bool(), Some(true));
    assert_eq!(object.get("z").unwrap().kind(), JsonKind::Null);
    assert_eq!(object.get("a").unwrap().as_strings().unwrap(), ["p", "q"]);
    assert_eq!(object.pointer("/o/in").unwrap().as_str().unwrap(), "side");
    assert!(object.get("absent").is_none());
}

#[test]
fn refuses_what_is_not_one_object() {
    for text in [
        "",
        "[]",
        "1",
        "\"x\"",
        "null",
        "{}x",
        "{}{}",
        "{",
        "{\"a\":}",
        "\u{feff}{}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":NaN}",
    ] {
        assert_eq!(parse(text).unwrap_err(), JsonError::Malformed, "{text}");
    }
    assert_eq!(JsonObject::parse(b"{\"a\":\"\xff\"}".to_vec()).unwrap_err(), JsonError::Malformed);
}

#[test]
fn refuses_duplicates_at_every_depth_and_through_escapes() {
    for text in
        [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"o":{"a":1,"a":1}}"#, r#"{"o":[{"x":{"a":1,"\u0061":1}}]}"#]
    {
        assert_eq!(parse(text).unwrap_err(), JsonError::DuplicateMember, "{text}");
    }
    let many: Vec<String> = (0..100).map(|i| format!("\"m{i}\":1")).collect();
    assert!(parse(&format!("{{{}}}", many.join(","))).is_ok());
    assert_eq!(parse(&format!("{{{},\"m3\":1}}", many.join(","))).unwrap_err(), JsonError::DuplicateMember);
    assert_eq!(parse(&format!("{{{},\"m99\":1}}", many.join(","))).unwrap_err(), JsonError::DuplicateMember);
}

#[test]
fn refuses_lone_surrogates_and_control_characters() {
    for text in [r#"{"a":"\ud800"}"#, r#"{"a":["\udc00x"]}"#, r#"{"\ud800":1}"#, "{\"a\":\"\n\"}", r#"{"a":"\x"}"#] {
        assert_eq!(parse(text).unwrap_err(), JsonError::Malformed, "{text}");
    }
    assert_eq!(parse(r#"{"a":"\ud83d\ude00"}"#).unwrap().get("a").unwrap().as_str().unwrap(), "\u{1f600}");
}

#[test]
fn bounds_the_depth() {
    let nest = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
    // 32 in all, the object itself is the first.
    assert!(parse(&nest(31)).is_ok());
    assert_eq!(parse(&nest(32)).unwrap_err(), JsonError::TooDeep);
    assert!(parse(&nest(100_000)).is_err());
    assert!(parse(&format!("{{\"a\":{}1{}}}", "{\"b\":".repeat(100_000), "}".repeat(100_000))).is_err());
}

#[test]
fn numeric_dates_out_of_range_are_none() {
    for (text, expected) in [
        ("0", Some(0)),
        ("1.5", Some(1)),
        ("1e3", Some(1000)),
        ("253402300799", Some(253_402_300_799)),
        ("253402300800", None),
        ("-1", None),
        ("-0.5", None),
        ("1e18", None),
        ("9223372036854775807", None),
        ("18446744073709551616", None),
        ("\"1\"", None),
        ("true", None),
        ("null", None),
        ("[1]", None),
        ("{}", None),
    ] {
        let object = parse(&format!("{{\"exp\":{text}}}")).unwrap();
        assert_eq!(object.get("exp").unwrap().as_numeric_date(), expected, "{text}");
    }
}

#[test]
fn refuses_numbers_that_no_double_holds_at_every_depth() {
    for number in ["1e400", "-1e999", &"9".repeat(400)] {
        for text in [
            format!(r#"{{"a":{number}}}"#),
            format!(r#"{{"a":[{number}]}}"#),
            format!(r#"{{"a":{{"b":{number},"c":"\\n"}}}}"#),
        ] {
            assert_eq!(parse(&text).unwrap_err(), JsonError::Malformed, "{text}");
        }
    }
    assert!(parse(r#"{"a":[1e300,-0.0,123456789012345678901234567890]}"#).is_ok());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(3_000))]

    /// Objects and arrays of few names, so that some stand twice, in any nesting and with white space.
    #[test]
    fn the_quick_check_of_nested_values_agrees_with_the_slow_one(value in nested()) {
        let parsed: Result<&RawValue, _> = serde_json::from_str(&value);
        proptest::prop_assert!(parsed.is_ok(), "{value}");
        proptest::prop_assert_eq!(check_value(&value, Some(&mut plain::Check::default())), check_value(&value, None), "{}", value);
    }
}

fn nested() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    let scalar = prop_oneof![
        Just("1".to_owned()),
        Just("-2.5e3".to_owned()),
        Just("1e999".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        "\"[a-c{}:, \\[\\]]{0,4}\"",
        "\"\u{e9}\"",
        Just("12345678901234567890123".to_owned()),
    ];
    let name = prop_oneof!["[a-c]{0,2}", "[a-z]{3}", Just("{\u{e9}".to_owned())];
    scalar.prop_recursive(40, 120, 40, move |inner| {
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        let member = (name.clone(), space, inner.clone())
            .prop_map(|(name, space, value)| format!("{space}\"{name}\"{space}:{value}{space}"));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..30).prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    })
}

#[test]
fn gives_a_type_what_it_asks_for_and_no_more() {
    #[derive(Deserialize, Debug, PartialEq)]
    struct Mine<'a> {
        name: &'a str,
        #[serde(default)]
        tags: Vec<String>,
        nested: Option<Inner>,
        age: u8,
    }
    #[derive(Deserialize, Debug, PartialEq)]
    struct Inner {
        x: i64,
    }
    let object = parse(r#"{"ignored":{"deep":[1,2]},"name":"n","tags":["a"],"nested":{"x":-3},"age":7}"#).unwrap();
    let mine: Mine<'_> = object.deserialize().unwrap();
    assert_eq!(mine, Mine { name: "n", tags: vec!["a".into()], nested: Some(Inner { x: -3 }), age: 7 });
    let value: serde_json::Value = object.deserialize().unwrap();
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(object.as_str()).unwrap());
    assert!(object.deserialize::<std::collections::HashMap<String, u8>>().is_err());
}

proptest::proptest! {
    #[test]
    fn no_input_panics_and_what_is_taken_serde_takes_too(text in "[\\{\\}\\[\\]\",:0-9a-c\\\\u ]{0,40}") {
        if let Ok(object) = parse(&text) {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(object.deserialize::<serde_json::Value>().unwrap(), value);
        }
    }
}

#[test]
fn refuses_names_that_serde_json_takes_for_its_own() {
    let inner = r#"{\"sub\":\"admin\",\"is_admin\":false,\"is_admin\":true}"#;
    for name in
        ["$serde_json::private::RawValue", "$serde_json::private::Number", r"\u0024serde_json::private::RawValue"]
    {
        for text in [
            format!(r#"{{"{name}":"{inner}"}}"#),
            format!(r#"{{"sub":"x","app":{{"{name}":"{inner}"}}}}"#),
            format!(r#"{{"sub":"x","app":[{{"{name}":"1"}}]}}"#),
        ] {
            assert_eq!(parse(&text).unwrap_err(), JsonError::Malformed, "{text}");
        }
    }
}

#[test]
fn both_checks_draw_the_line_at_the_same_depth() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for (levels, expected) in
            [(MAX_DEPTH - 1, Ok(())), (MAX_DEPTH, Err(JsonError::TooDeep)), (MAX_DEPTH + 1, Err(JsonError::TooDeep))]
        {
            for leaf in ["{}", "[]"] {
                let value = format!("{}{leaf}{}", open.repeat(levels - 1), close.repeat(levels - 1));
                assert_eq!(
                    check_value(&value, Some(&mut plain::Check::default())),
                    expected,
                    "quick, {levels}: {value}"
                );
                assert_eq!(check_value(&value, None), expected, "slow, {levels}: {value}");
            }
        }
    }
}

#[test]
fn values_are_equal_by_their_text_whatever_stands_beside_them() {
    let (plain, escaped) = (parse(r#"{"a":"v"}"#).unwrap(), parse(r#"{"a":"v","b":"\n"}"#).unwrap());
    assert_eq!(plain.get("a"), escaped.get("a"));
}

#[test]
fn gives_names_to_types_that_wrap_a_string() {
    #[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
    struct Key(String);
    let object = parse(r#"{"a":1,"b":2}"#).unwrap();
    let map: std::collections::BTreeMap<Key, u8> = object.deserialize().unwrap();
    assert_eq!(map.get(&Key("b".into())), Some(&2));
}
