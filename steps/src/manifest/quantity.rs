//! Kubernetes' resource quantities, as far as comparisons need them.

use serde_json::Value;

/// One unit in the scale of comparisons: billionths, the smallest part that an API server keeps.
const NANO: i128 = 1_000_000_000;

/// A quantity (`250m`, `0.25`, `1Gi`, `1e3`, or a bare number) in billionths, rounded up as the API server
/// does. `None` if the value is no quantity or is too large.
pub fn nanos(value: &Value) -> Option<i128> {
    match value {
        Value::String(text) => parse(text),
        Value::Number(number) => parse(&number.to_string()),
        _ => None,
    }
}

fn parse(text: &str) -> Option<i128> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, divisor) = scale(suffix)?;
    let numerator = digits.checked_mul(multiplier)?.checked_mul(NANO)?;
    let denominator = divisor.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let amount = numerator / denominator + i128::from(numerator % denominator != 0);
    Some(if negative { -amount } else { amount })
}

/// A suffix as a fraction.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let binary = |exponent: u32| Some((1_i128 << (10 * exponent), 1));
    let decimal = |exponent: i32| {
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        Some(if exponent < 0 { (1, power) } else { (power, 1) })
    };
    match suffix {
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        exponent => decimal(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_amount_in_other_words() {
        for (left, right) in [
            ("250m", "0.25"),
            ("1", "1000m"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("1E3", "1000"),
            ("1E", "1e18"),
            ("0.5Gi", "512Mi"),
            ("-1.5", "-1500m"),
            ("0.1n", "1n"),
            (".5", "500m"),
        ] {
            assert!(parse(left).is_some(), "{left}");
            assert_eq!(parse(left), parse(right), "{left} {right}");
        }
        assert_ne!(parse("1G"), parse("1Gi"));
        assert_eq!(nanos(&2.into()), parse("2"));
        for none in ["", "m", "1x", "1.2.3", "1 Gi", "1e", "1e99", "--1"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
