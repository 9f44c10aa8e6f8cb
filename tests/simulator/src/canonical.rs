//! The API server's spelling of values that have several: quantities, and values that Go leaves out.

use super::object::items;
use serde_json::{Value, json};

/// Spells a container's quantities and empty values as the server returns them.
pub(super) fn container(container: &mut Value) {
    for kind in ["requests", "limits"] {
        let amounts = container.get_mut("resources").and_then(|resources| resources.get_mut(kind));
        for (_, amount) in amounts.and_then(Value::as_object_mut).into_iter().flatten() {
            if let Some(written) = quantity(amount) {
                *amount = json!(written);
            }
        }
    }
    for variable in items(container, "env") {
        drop_if(variable, "value", |value| value == "");
        if let Some(divisor) = variable.pointer_mut("/valueFrom/resourceFieldRef/divisor")
            && let Some(written) = quantity(divisor)
        {
            *divisor = json!(written);
        }
    }
    for mount in items(container, "volumeMounts") {
        drop_if(mount, "readOnly", |value| *value == json!(false));
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let Some(probe) = container.get_mut(name) else { continue };
        for field in PROBE_FIELDS {
            drop_if(probe, field, |value| *value == json!(0));
        }
    }
    if let Some(capabilities) = container.pointer_mut("/securityContext/capabilities") {
        for field in ["add", "drop"] {
            drop_if(capabilities, field, |value| *value == json!([]));
        }
    }
}

/// In these fields, zero equals absence.
const PROBE_FIELDS: [&str; 5] =
    ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];

fn drop_if(object: &mut Value, field: &str, is_empty: impl Fn(&Value) -> bool) {
    if object.get(field).is_some_and(is_empty) {
        object.as_object_mut().map(|fields| fields.remove(field));
    }
}

/// The suffixes of both families, smallest first, each with its power.
const BINARY: [(&str, u32); 7] = [("", 0), ("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5), ("Ei", 6)];
const DECIMAL: [(&str, u32); 8] =
    [("m", 0), ("", 1), ("k", 2), ("M", 3), ("G", 4), ("T", 5), ("P", 6), ("E", 7)];

/// `Quantity.String()`: whole numbers with the largest suffix of their family. `None` for what this
/// simulation need not understand: exponents, and less than a thousandth.
fn quantity(value: &Value) -> Option<String> {
    let text = value.as_str().map_or_else(|| value.to_string(), Into::into);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    written(&text[..end], &text[end..])
}

fn written(number: &str, suffix: &str) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let binary = suffix.ends_with('i');
    let (family, base): (&[(&str, u32)], u128) = if binary { (&BINARY, 1024) } else { (&DECIMAL, 1000) };
    let power = family.iter().find(|(name, _)| *name == suffix)?.1;
    let scaled = digits.checked_mul(base.checked_pow(power)?)?;
    let amount = (scaled % divisor == 0).then_some(scaled / divisor)?;
    if amount == 0 {
        return Some("0".into());
    }
    let fits = |(name, power): &(&str, u32)| {
        let unit = base.pow(*power);
        (amount % unit == 0).then(|| format!("{}{name}", amount / unit))
    };
    family.iter().rev().find_map(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_as_the_api_server_does() {
        for (given, expected) in [
            (json!("1.5Gi"), "1536Mi"),
            (json!("1024Mi"), "1Gi"),
            (json!(0.5), "500m"),
            (json!("0.25"), "250m"),
            (json!("1000m"), "1"),
            (json!("2000"), "2k"),
            (json!(1), "1"),
            (json!("0"), "0"),
            (json!("100Mi"), "100Mi"),
        ] {
            assert_eq!(quantity(&given).as_deref(), Some(expected), "{given}");
        }
        assert_eq!(quantity(&json!("1e3")), None);
    }
}
