//! Paths and queries without their escapes.

/// A path's text, or nothing if it has escapes that are none, or that hide a separator or a control character.
pub fn path(escaped: &str) -> Option<String> {
    let segments: Option<Vec<String>> = escaped.split('/').map(|segment| decode(segment, Plus::Itself)).collect();
    let segments = segments?;
    let good = |segment: &String| !matches!(segment.as_str(), "." | "..") && !segment.contains('/');
    segments.iter().all(good).then(|| segments.join("/")).filter(|path| !path.chars().any(char::is_control))
}

/// A query's pairs, or nothing if it has escapes that are none.
pub fn query(escaped: &str) -> Option<Vec<(String, String)>> {
    let pairs = escaped.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((decode(name, Plus::Space)?, decode(value, Plus::Space)?))
    });
    pairs.collect()
}

/// What `+` means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Space,
}

fn decode(escaped: &str, plus: Plus) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
                bytes.push(digit(digits[0])? << 4 | digit(digits[1])?);
                rest = after;
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_bad_ones_refused() {
        assert_eq!(path("/networking/v1/gateways/G%571").as_deref(), Some("/networking/v1/gateways/GW1"));
        assert_eq!(path("/a+b").as_deref(), Some("/a+b"));
        for bad in ["/%", "/%4", "/%zz", "/%ff", "/a%2fb", "/a/../b", "/a/%2e%2e/b", "/%00", "/%0d%0a"] {
            assert_eq!(path(bad), None, "{bad}");
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            query("watch=true&x=a+b%26&flag&"),
            Some(vec![pair("watch", "true"), pair("x", "a b&"), pair("flag", "")])
        );
        assert_eq!(query("a=%"), None);
    }
}
