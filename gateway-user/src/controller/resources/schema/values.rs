//! Single values: each is read in every form that clients send, and written in one.

use super::{Kind, Shape};
use crate::controller::resources::path::Path;
use crate::plan::{Mac, Prefix};
use serde_json::{Value, json};
use std::net::IpAddr;

/// Why a value is none of its shape, for a person.
pub type Fault = String;

/// Longest text of [`Shape::Texts`].
const MAX_TEXT: usize = 1024;

/// Most values of [`Shape::Texts`].
const MAX_TEXTS: usize = 4096;

/// Reads a value that is no object, no array of values and no resource.
///
/// None stands for a value that means none, such as an empty key.
///
/// # Errors
/// It is none of the shape.
pub fn read(shape: &Shape, value: &Value) -> Result<Option<Value>, Fault> {
    let read = match shape {
        Shape::Text(longest) => {
            let text = text(value)?;
            if text.len() > *longest {
                return Err(format!("{} bytes are too long; at most {longest} are taken", text.len()));
            }
            json!(text)
        }
        Shape::Integer(least, most) => json!(integer(value, *least, *most)?),
        Shape::Boolean => json!(boolean(value)?),
        Shape::Address => match address(text(value)?)? {
            Some(address) => json!(address),
            None => return Ok(None),
        },
        Shape::Prefix => json!(prefix(text(value)?)?),
        Shape::Mac => json!(mac(text(value)?)?),
        Shape::AsnDot => {
            let number = asn(value)?;
            json!(format!("{}.{}", number >> 16, number & 0xffff))
        }
        Shape::AsnPlain => json!(asn(value)?.to_string()),
        Shape::GreKey => match gre_key(value)? {
            Some(key) => json!(key.to_string()),
            None => return Ok(None),
        },
        Shape::Choice(choices) => {
            let given = text(value)?;
            let choice = choices.iter().find(|choice| choice.eq_ignore_ascii_case(given.trim()));
            json!(choice.ok_or_else(|| format!("{} is none of {}", quoted(given), choices.join(", ")))?)
        }
        Shape::Reference(kinds) => match reference(value, kinds)? {
            Some(path) => json!({ "resourceRef": path.to_string() }),
            None => return Ok(None),
        },
        Shape::OwnReference(kind) => match reference(value, &[*kind])? {
            Some(path) => json!({ "resourceRef": path.to_string() }),
            None => return Ok(None),
        },
        Shape::Texts => texts(value)?,
        Shape::Any => value.clone(),
        Shape::Object(_) | Shape::List(_) | Shape::Children(_) | Shape::BackReferences(..) => {
            return Err("this is no single value".to_owned());
        }
    };
    Ok(Some(read))
}

/// A value as it is shown in a fault: cut, so that a fault is never longer than a line.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// What a value is, for a person who gave the wrong one.
pub const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn text(value: &Value) -> Result<&str, Fault> {
    value.as_str().ok_or_else(|| format!("this has to be a string, not {}", type_name(value)))
}

fn integer(value: &Value, least: i64, most: i64) -> Result<i64, Fault> {
    let number = match value {
        Value::Number(number) => {
            number.as_i64().ok_or_else(|| format!("{number} is no whole number from {least} to {most}"))?
        }
        Value::String(text)
            if !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            text.parse().map_err(|_| format!("{} is no whole number from {least} to {most}", quoted(text)))?
        }
        Value::String(text) => return Err(format!("{} is no number", quoted(text))),
        other => return Err(format!("this has to be a number, not {}", type_name(other))),
    };
    if (least..=most).contains(&number) { Ok(number) } else { Err(format!("{number} is outside {least}..={most}")) }
}

fn boolean(value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        other => Err(format!("this has to be true or false, not {}", type_name(other))),
    }
}

fn address(text: &str) -> Result<Option<IpAddr>, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let hint = if text.contains('/') { "; write it without the prefix length" } else { "" };
        format!("{} is no IPv4 or IPv6 address{hint}", quoted(text))
    })
}

fn prefix(text: &str) -> Result<String, Fault> {
    text.trim().parse::<Prefix>().map(|prefix| prefix.to_string()).map_err(|complaint| complaint.to_string())
}

/// A MAC address with `-`, `:` or nothing between its bytes.
///
/// # Errors
/// It is none of one station.
pub fn mac(text: &str) -> Result<String, Fault> {
    let text = text.trim();
    let spaced = if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        text.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect::<Vec<_>>().join("-")
    } else {
        text.to_owned()
    };
    spaced.parse::<Mac>().map(written).map_err(|complaint| complaint.to_string())
}

/// A MAC address in the canonical form: upper case, `-` between the bytes.
pub fn written(mac: Mac) -> String {
    mac.octets().map(|octet| format!("{octet:02X}")).join("-")
}

/// The number of an autonomous system, plain or with a dot (RFC 5396).
///
/// # Errors
/// It is none, or one that no speaker may have.
pub fn asn(value: &Value) -> Result<u32, Fault> {
    let refuse = || "write the number of an autonomous system, such as \"65001\" or \"0.65001\"".to_owned();
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(refuse)?,
        Value::String(text) => match text.trim().split_once('.') {
            Some((high, low)) => {
                let part = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| refuse());
                part(high)? << 16 | part(low)?
            }
            None => text.trim().parse().map_err(|_| refuse())?,
        },
        _ => return Err(refuse()),
    };
    match number {
        0 | 65535 | u32::MAX => Err(format!("{number} is reserved (RFC 7607, RFC 7300): no speaker may have it")),
        23456 => Err("23456 is AS_TRANS (RFC 6793): no speaker may have it".to_owned()),
        number => Ok(number),
    }
}

fn gre_key(value: &Value) -> Result<Option<u32>, Fault> {
    let refuse =
        || format!("a GRE key is a whole number from 0 to {}; leave it out for a tunnel without key", u32::MAX);
    match value {
        Value::Number(number) => number.as_u64().and_then(|key| u32::try_from(key).ok()).map(Some).ok_or_else(refuse),
        Value::String(text) if text.trim().is_empty() => Ok(None),
        Value::String(text) => {
            let text = text.trim();
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).map(Some).ok_or_else(refuse)
        }
        _ => Err(refuse()),
    }
}

/// What a whole resource may hold where a reference to it stands: clients send what they got.
const ALONGSIDE: [&str; 6] = ["resourceid", "instanceid", "etag", "properties", "tags", "resourcemetadata"];

fn reference(value: &Value, kinds: &[Kind]) -> Result<Option<Path>, Fault> {
    let Value::Object(object) = value else {
        return Err(format!("this has to be {{\"resourceRef\": \"…\"}}, not {}", type_name(value)));
    };
    let mut found = None;
    for (name, value) in object {
        if name.eq_ignore_ascii_case("resourceRef") {
            found = Some(value);
        } else if !ALONGSIDE.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            return Err(format!("a reference has `resourceRef` alone, not {}", quoted(name)));
        }
    }
    let text = match found {
        Some(Value::String(text)) => text,
        Some(Value::Null) => return Ok(None),
        None if object.is_empty() => return Ok(None),
        _ => return Err("a reference needs a string `resourceRef`".to_owned()),
    };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let path = Path::parse(text).map_err(|error| error.to_string())?;
    if !kinds.contains(&path.kind()) {
        let named = |kind: &Kind| {
            kind.info().parent.map_or_else(
                || kind.info().collection.to_owned(),
                |parent| format!("{}/{}", parent.info().collection, kind.info().collection),
            )
        };
        let expected: Vec<String> = kinds.iter().map(named).collect();
        return Err(format!(
            "{path} is one of {}; this refers to one of {}",
            named(&path.kind()),
            expected.join(" or ")
        ));
    }
    Ok(Some(path))
}

fn texts(value: &Value) -> Result<Value, Fault> {
    let one = |value: &Value| match value {
        Value::String(text) if text.len() <= MAX_TEXT => Ok(json!(text.trim())),
        Value::Number(number) => Ok(json!(number.to_string())),
        Value::String(_) => Err(format!("a text is longer than {MAX_TEXT} bytes")),
        other => Err(format!("this has to be a string, or an array of strings, not {}", type_name(other))),
    };
    match value {
        Value::Array(values) if values.len() > MAX_TEXTS => Err(format!("more than {MAX_TEXTS} values")),
        Value::Array(values) => values.iter().map(one).collect::<Result<Vec<_>, _>>().map(Value::Array),
        value => one(value),
    }
}
