//! The findings in manifest/yaml.rs, against what kubectl 1.35.3 makes of each text.

use serde_json::{Value, json};

use super::super::yaml::read;
use crate::manifest::ManifestError;

#[test]
fn scalars_are_what_the_kubelet_reads() {
    for (text, value) in [
        ("0644", json!(420)),
        ("0o644", json!(420)),
        ("-0644", json!(-420)),
        ("0_10", json!(8)),
        ("089", json!(89)),
        ("0x1F", json!(31)),
        ("0b101", json!(5)),
        ("1_000", json!(1000)),
        ("+5", json!(5)),
        ("00", json!(0)),
        ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
        ("1e3", json!(1000)),
        ("5.", json!(5)),
        (".5", json!(0.5)),
        ("1.5", json!(1.5)),
        ("yes", json!(true)),
        ("Yes", json!(true)),
        ("y", json!(true)),
        ("on", json!(true)),
        ("n", json!(false)),
        ("OFF", json!(false)),
        ("TRUE", json!(true)),
        ("\"yes\"", json!("yes")),
        ("'0644'", json!("0644")),
        ("!!str 0644", json!("0644")),
        ("~", Value::Null),
        ("", Value::Null),
        ("Null", Value::Null),
        ("nUll", json!("nUll")),
        ("2001-01-01", json!("2001-01-01")),
        ("12:30:45", json!("12:30:45")),
        ("250m", json!("250m")),
        ("0o8", json!("0o8")),
        ("\"a\\\n  b\"", json!("ab")),
        (">-\n  folded\n  text", json!("folded text")),
        ("|\n  lit", json!("lit\n")),
        // Where we differ; see manifest/yaml.rs.
        ("yEs", json!(true)),
        ("1__0", json!("1__0")),
    ] {
        assert_eq!(read(format!("key: {text}\n").as_bytes()).unwrap(), json!({ "key": value }), "{text}");
    }
    for text in [".nan", "-.inf", "1e999"] {
        assert!(
            matches!(read(format!("key: {text}").as_bytes()), Err(ManifestError::NotYaml { .. })),
            "{text}"
        );
    }
}

/// The simulated kubelet decodes what the lenient reader reads.
#[test]
fn both_readers_read_one_value() {
    for text in ["a: 6e1\nb: 0644\nc: yes\n", "{\"a\": 60.0, \"b\": 420, \"c\": true}"] {
        let expected = json!({ "a": 60, "b": 420, "c": true });
        assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text}");
        assert_eq!(crate::manifest::read_as_the_kubelet(text.as_bytes()), Some(expected), "{text}");
    }
}

#[test]
fn anchors_and_merge_keys_are_resolved() {
    let text = "base: &base {one: 1, two: 2}\nsame: *base\nmerged: {<<: *base, two: 3}\n";
    let base = json!({ "one": 1, "two": 2 });
    let expected = json!({ "base": base, "same": base, "merged": { "one": 1, "two": 3 } });
    assert_eq!(read(text.as_bytes()).unwrap(), expected);
}

#[test]
fn a_key_used_twice_is_an_error_in_yaml_and_in_json() {
    for text in ["a:\n  b: 1\n  b: 2\n", "{\"a\": {\"b\": 1, \"b\": 2}}"] {
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("duplicate mapping key `b`") && !error.contains("Options"), "{error}");
    }
}

#[test]
fn marks_of_editors_and_systems_do_no_harm() {
    let expected = json!({ "a": { "b": 1 } });
    for text in [
        "\u{feff}a:\n  b: 1\n",
        "a:\r\n  b: 1\r\n",
        "---\na:\n  b: 1\n...\n",
        "%YAML 1.1\n---\na: {b: 1}\n",
        "# comment\n\na: {b: 1}\n---\n# nothing more\n",
        "\n {\"a\": {\"b\": 1.0}}",
    ] {
        assert_eq!(read(text.as_bytes()).unwrap(), expected, "{text:?}");
    }
}
