//! Which paths lead where.

use alloc::borrow::Cow;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::url::percent_decode;
use crate::message::Utf8Bytes;

/// A set of paths: `/chat`, `/rooms/{id}`, `/files/*`.
///
/// - A segment stands for itself; upper and lower case differ. What is
///   percent-encoded, in the pattern or the path, is the same as what it means.
/// - `{name}` stands for any one segment, and its value is told, decoded.
/// - `*`, as the last segment, stands for any number of further segments, none
///   included: `/files/*` takes `/files`, `/files/a` and `/files/a/b`; `/*`
///   takes everything.
/// - One slash at the end makes no difference: `/chat/` is `/chat`.
///
/// A path that can be read in two ways matches nothing, not even `/*`: one
/// with an empty segment, with `.` or `..` (RFC 3986 §5.2.4), or with an escape
/// that is not UTF-8 or is NUL.
///
/// ```
/// use smartsocket_core::http::Pattern;
///
/// let pattern = Pattern::parse("/rooms/{id}/log")?;
/// let params = pattern.matches("/rooms/caf%C3%A9/log").ok_or("no match")?;
/// assert_eq!(params.get("id"), Some("café"));
/// assert!(pattern.matches("/rooms/1").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    segments: Vec<Segment>,
    /// It ends with `*`.
    open: bool,
}

#[derive(Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Param(Utf8Bytes),
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// It does not start with `/`.
    NotAPath,
    /// Two slashes with nothing between them.
    EmptySegment,
    /// `.` or `..`, which no path has.
    DotSegment,
    /// This character can be in no path: a control character, `?` or `#`.
    Character(char),
    /// A `*` that is not all of the last segment.
    Wildcard,
    /// Braces that are not around all of a segment, or not around a name of
    /// ASCII letters, digits and `_`.
    Param(String),
    /// Two parameters have this name.
    Repeated(String),
    /// A `%` that begins no escape, or escapes that are not UTF-8.
    Escape,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// What about it is none.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let path = text.strip_prefix('/').ok_or(PatternError::NotAPath)?;
        let character = |&c: &char| c.is_control() || c == '?' || c == '#';
        if let Some(found) = text.chars().find(character) {
            return Err(PatternError::Character(found));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let (path, open) = match path.strip_suffix('*') {
            Some("") => ("", true),
            Some(path) => (path.strip_suffix('/').ok_or(PatternError::Wildcard)?, true),
            None => (path, false),
        };
        let mut segments = Vec::new();
        if !path.is_empty() || text.starts_with("//") {
            for text in path.split('/') {
                let segment = Segment::parse(text)?;
                if let Segment::Param(name) = &segment
                    && segments.contains(&segment)
                {
                    return Err(PatternError::Repeated(name.to_string()));
                }
                segments.push(segment);
            }
        }
        Ok(Self {
            text: text.into(),
            segments,
            open,
        })
    }

    /// The parameters of a path that is one of these; a path as
    /// [`Request::path`](super::Request::path) gives it, without the query.
    pub fn matches(&self, path: &str) -> Option<Params> {
        self.bind(&segments(path)?)
    }

    /// The text it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    fn bind(&self, path: &[Cow<'_, str>]) -> Option<Params> {
        if path.len() < self.segments.len() || (path.len() > self.segments.len() && !self.open) {
            return None;
        }
        let pairs = || self.segments.iter().zip(path);
        let fits = pairs().all(|(segment, text)| match segment {
            Segment::Literal(literal) => literal == text,
            Segment::Param(_) => true,
        });
        let params = pairs().filter_map(|(segment, text)| match segment {
            Segment::Literal(_) => None,
            Segment::Param(name) => Some((name.clone(), Utf8Bytes::from(&**text))),
        });
        fits.then(|| Params(params.collect()))
    }

    /// What it says at each place, the more exact the less.
    fn rank(&self) -> impl Iterator<Item = Rank> {
        let segments = self.segments.iter().map(|segment| match segment {
            Segment::Literal(_) => Rank::Literal,
            Segment::Param(_) => Rank::Param,
        });
        let end = if self.open { Rank::Any } else { Rank::End };
        segments.chain([end])
    }

    /// Whether both match the same paths.
    fn is_like(&self, other: &Self) -> bool {
        let mut pairs = self.segments.iter().zip(&other.segments);
        self.rank().eq(other.rank())
            && pairs.all(|(one, other)| match (one, other) {
                (Segment::Literal(one), Segment::Literal(other)) => one == other,
                _ => true,
            })
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    End,
    Literal,
    Param,
    Any,
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PatternError> {
        if text.contains('*') {
            return Err(PatternError::Wildcard);
        }
        if text.contains(['{', '}']) {
            let name = text
                .strip_prefix('{')
                .and_then(|text| text.strip_suffix('}'));
            let named = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            return match name {
                Some(name) if !name.is_empty() && name.bytes().all(named) => {
                    Ok(Self::Param(name.into()))
                }
                Some(_) | None => Err(PatternError::Param(text.into())),
            };
        }
        let text = percent_decode(text).ok_or(PatternError::Escape)?;
        match &text[..] {
            "" => Err(PatternError::EmptySegment),
            "." | ".." => Err(PatternError::DotSegment),
            _ if text.contains('\0') => Err(PatternError::Character('\0')),
            _ => Ok(Self::Literal(text)),
        }
    }
}

/// The decoded segments of a path; `None` for a path that could be read in two
/// ways.
pub(crate) fn segments(path: &str) -> Option<Vec<Cow<'_, str>>> {
    let path = path.strip_prefix('/')?;
    if path.is_empty() {
        return Some(Vec::new());
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let segment = |text| {
        let text = if str::contains(text, '%') {
            Cow::Owned(percent_decode(text)?)
        } else {
            Cow::Borrowed(text)
        };
        let plain = !matches!(&*text, "" | "." | "..") && !text.contains('\0');
        plain.then_some(text)
    };
    path.split('/').map(segment).collect()
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::parse(text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPath => f.write_str("path does not start with /"),
            Self::EmptySegment => f.write_str("path has nothing between two slashes"),
            Self::DotSegment => f.write_str("path has a segment . or .."),
            Self::Character(found) => write!(f, "{found:?} cannot be in a path"),
            Self::Wildcard => f.write_str("* can only be all of the last segment"),
            Self::Param(text) => write!(f, "{text:?} is not of the form {{name}}"),
            Self::Repeated(name) => write!(f, "two parameters are named {name}"),
            Self::Escape => f.write_str("path is not percent-encoded UTF-8"),
        }
    }
}

impl core::error::Error for PatternError {}

/// The values of a pattern's parameters in one path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(Utf8Bytes, Utf8Bytes)>);

impl Params {
    /// The value of a parameter: percent-decoded, not empty, without NUL, and
    /// neither `.` nor `..`. It may contain a slash, where that was escaped.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut params = self.iter();
        params.find_map(|(other, value)| (other == name).then_some(value))
    }

    /// Names and values in the order of the path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether the pattern has no parameters.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What paths lead to. Of several patterns that match, the most exact one
/// counts: at the first place where they differ, a text goes before a
/// parameter, and that before `*`. The order they were added in plays no part.
///
/// ```
/// use smartsocket_core::http::{Pattern, Router};
///
/// let mut router = Router::new();
/// for (pattern, to) in [("/*", 1), ("/rooms/{id}", 2), ("/rooms/new", 3)] {
///     router.add(Pattern::parse(pattern)?, to)?;
/// }
/// let find = |path| router.find(path).map(|(to, _)| *to);
/// assert_eq!(find("/rooms/new"), Some(3));
/// assert_eq!(find("/rooms/7"), Some(2));
/// assert_eq!(find("/rooms/7/x"), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Router<T> {
    /// The most exact first.
    routes: Vec<(Pattern, T)>,
}

/// Another pattern matches the same paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pattern: Pattern,
    by: Pattern,
}

impl<T> Router<T> {
    /// Leads nowhere.
    pub const fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Adds a pattern.
    ///
    /// # Errors
    ///
    /// A pattern that matches the same paths is there.
    pub fn add(&mut self, pattern: Pattern, to: T) -> Result<(), Taken> {
        if let Some((by, _)) = self.routes.iter().find(|(by, _)| by.is_like(&pattern)) {
            let by = by.clone();
            return Err(Taken { pattern, by });
        }
        let at = self
            .routes
            .partition_point(|(other, _)| other.rank().le(pattern.rank()));
        self.routes.insert(at, (pattern, to));
        Ok(())
    }

    /// What a path leads to.
    pub fn find(&self, path: &str) -> Option<(&T, Params)> {
        let path = segments(path)?;
        let mut routes = self.routes.iter();
        routes.find_map(|(pattern, to)| Some((to, pattern.bind(&path)?)))
    }

    /// Every pattern and what it leads to, the more exact before the less.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        self.routes.iter().map(|(pattern, to)| (pattern, to))
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} matches what {} does", self.pattern, self.by)
    }
}

impl core::error::Error for Taken {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    /// The values found, or nothing.
    fn values(pattern: &str, path: &str) -> Option<String> {
        let params = Pattern::parse(pattern).unwrap().matches(path)?;
        let values: Vec<_> = params
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Some(values.join(" "))
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, path, found) in [
            ("/", "/", Some("")),
            ("/", "/a", None),
            ("/", "", None),
            ("/", "*", None),
            ("/", "a", None),
            ("/chat", "/chat", Some("")),
            ("/chat", "/chat/", Some("")),
            ("/chat/", "/chat", Some("")),
            ("/chat", "/chat//", None),
            ("/chat", "//chat", None),
            ("/chat", "/Chat", None),
            ("/chat", "/chat/x", None),
            ("/chat", "/chatx", None),
            ("/chat", "/", None),
            ("/chat", "/%63h%61t", Some("")),
            ("/ch%61t", "/chat", Some("")),
            ("/żółw", "/%C5%BC%C3%B3%C5%82w", Some("")),
            ("/a b", "/a%20b", Some("")),
            ("/a+b", "/a b", None),
            ("/%7Bid%7D", "/{id}", Some("")),
            ("/files/*", "/files", Some("")),
            ("/files/*", "/files/", Some("")),
            ("/files/*", "/files/a/b/c", Some("")),
            ("/files/*", "/filesx", None),
            ("/files/*", "/files/a//b", None),
            ("/files/*", "/files/../secret", None),
            ("/files/*", "/files/%2e%2E/secret", None),
            ("/files/*", "/files/.", None),
            ("/files/*", "/files/...", Some("")),
            ("/files/*", "/files/%", None),
            ("/files/*", "/files/%ff", None),
            ("/files/*", "/files/%00", None),
            ("/*", "/", Some("")),
            ("/*", "/a/b", Some("")),
            ("/rooms/{id}", "/rooms/7", Some("id=7")),
            ("/rooms/{id}", "/rooms/7/", Some("id=7")),
            ("/rooms/{id}", "/rooms/", None),
            ("/rooms/{id}", "/rooms//", None),
            ("/rooms/{id}", "/rooms/a%2Fb%3F", Some("id=a/b?")),
            ("/rooms/{id}", "/rooms/caf%c3%a9", Some("id=café")),
            ("/rooms/{id}", "/rooms/%c3", None),
            ("/rooms/{id}", "/rooms/%c3%28", None),
            ("/rooms/{id}", "/rooms/%0", None),
            ("/rooms/{id}", "/rooms/%zz", None),
            ("/rooms/{id}", "/rooms/x%00y", None),
            ("/rooms/{id}", "/rooms/..", None),
            ("/rooms/{id}", "/rooms/%0A", Some("id=\n")),
            ("/{a}/x/{b}/*", "/1/x/2", Some("a=1 b=2")),
            ("/{a}/x/{b}/*", "/1/x/2/3/4", Some("a=1 b=2")),
            ("/{a}/x/{b}/*", "/1/x", None),
        ] {
            assert_eq!(values(pattern, path).as_deref(), found, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let param = |text: &str| PatternError::Param(text.into());
        for (text, error) in [
            ("", PatternError::NotAPath),
            ("chat", PatternError::NotAPath),
            ("*", PatternError::NotAPath),
            ("//", PatternError::EmptySegment),
            ("/a//b", PatternError::EmptySegment),
            ("//a", PatternError::EmptySegment),
            ("/a//", PatternError::EmptySegment),
            ("//*", PatternError::EmptySegment),
            ("/a//*", PatternError::EmptySegment),
            ("/.", PatternError::DotSegment),
            ("/a/%2e./b", PatternError::DotSegment),
            ("/a?b", PatternError::Character('?')),
            ("/a#b", PatternError::Character('#')),
            ("/a\nb", PatternError::Character('\n')),
            ("/a%00", PatternError::Character('\0')),
            ("/a*", PatternError::Wildcard),
            ("/*/a", PatternError::Wildcard),
            ("/**", PatternError::Wildcard),
            ("/{id", param("{id")),
            ("/id}", param("id}")),
            ("/x{id}", param("x{id}")),
            ("/{a}{b}", param("{a}{b}")),
            ("/{}", param("{}")),
            ("/{a-b}", param("{a-b}")),
            ("/{*}", PatternError::Wildcard),
            ("/{a}/{a}", PatternError::Repeated("a".into())),
            ("/%", PatternError::Escape),
            ("/%ff", PatternError::Escape),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
        let shown = Pattern::parse("/x{id}").unwrap_err().to_string();
        assert_eq!(shown, "\"x{id}\" is not of the form {name}");
    }

    #[test]
    fn the_most_exact_route_counts_in_whatever_order_they_come() {
        let patterns = [
            "/",
            "/rooms",
            "/rooms/new",
            "/rooms/{id}",
            "/rooms/{id}/log",
            "/rooms/{id}/*",
            "/rooms/*",
            "/{any}/new",
            "/{any}",
            "/*",
        ];
        for turn in 0..patterns.len() {
            let mut router = Router::new();
            let (before, after) = patterns.split_at(turn);
            for text in after.iter().chain(before) {
                router.add(pattern(text), *text).unwrap();
            }
            for (path, found) in [
                ("/", "/"),
                ("/rooms", "/rooms"),
                ("/rooms/", "/rooms"),
                ("/rooms/new", "/rooms/new"),
                ("/rooms/%6eew", "/rooms/new"),
                ("/rooms/7", "/rooms/{id}"),
                ("/rooms/7/log", "/rooms/{id}/log"),
                ("/rooms/7/x", "/rooms/{id}/*"),
                ("/rooms/7/log/x", "/rooms/{id}/*"),
                ("/x/new", "/{any}/new"),
                ("/x", "/{any}"),
                ("/x/y", "/*"),
            ] {
                let (to, params) = router.find(path).unwrap();
                assert_eq!(*to, found, "{path}");
                assert_eq!(params.get("id").is_some(), found.contains("{id}"));
            }
            assert!(router.find("/x//y").is_none());
            let order: Vec<_> = router.iter().map(|(pattern, _)| pattern.as_str()).collect();
            assert_eq!((order[0], order[9]), ("/", "/*"));
        }
    }

    #[test]
    fn a_pattern_for_the_same_paths_is_refused() {
        let mut router = Router::new();
        for text in ["/a/{x}", "/a/*", "/a", "/{x}/a"] {
            router.add(pattern(text), ()).unwrap();
        }
        for (text, by) in [
            ("/a/{y}/", "/a/{x}"),
            ("/%61/*", "/a/*"),
            ("/a/", "/a"),
            ("/{z}/a", "/{x}/a"),
        ] {
            let taken = router.add(pattern(text), ()).unwrap_err();
            assert_eq!(taken.to_string(), format!("{text} matches what {by} does"));
        }
        router.add(pattern("/b/*"), ()).unwrap();
    }

    fn segment() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-c]",
            "[a-c]{1,2}",
            "[a-z%/. {}*\u{e9}]{1,6}",
            "\\PC{1,6}",
            Just("..".into())
        ]
    }

    /// Escapes every byte that is not a letter.
    fn encode(text: &str) -> String {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' => String::from(char::from(byte)),
            _ => format!("%{byte:02X}"),
        };
        text.bytes().map(encode).collect()
    }

    proptest! {
        #[test]
        fn values_come_out_as_they_went_in(texts in vec(segment(), 1..6), open in any::<bool>()) {
            let names = (0..texts.len()).map(|n| format!("/{{p{n}}}"));
            let text = names.collect::<String>() + if open { "/*" } else { "" };
            let path: String = texts.iter().map(|text| format!("/{}", encode(text))).collect();
            let dots = texts.iter().any(|text| text == "." || text == "..");
            match pattern(&text).matches(&path) {
                Some(params) => {
                    let values: Vec<_> = params.iter().map(|(_, value)| value).collect();
                    prop_assert!(!dots);
                    prop_assert_eq!(values, texts);
                }
                None => prop_assert!(dots),
            }
        }

        #[test]
        fn no_text_is_too_much(text in "[/{}*a%0. \u{e9}]{0,20}", path in "[/{}*a%02ef. \u{e9}]{0,20}") {
            let pattern = Pattern::parse(&text);
            prop_assert!(segments(&path).is_none_or(|path| path.iter().all(|text| !text.is_empty())));
            if let Ok(pattern) = pattern {
                pattern.matches(&path);
                // Its own text, taken for a path, is one of its paths.
                if !text.contains(['{', '*']) {
                    prop_assert!(pattern.matches(&text).is_some());
                }
            }
        }

        /// A router finds what the rule, applied to all of its patterns, finds.
        #[test]
        fn a_router_finds_the_most_exact(
            patterns in vec("(/[ab]|/\\{[ab]\\}){0,4}(/\\*)?", 0..12), path in "(/[abc]){0,5}/?",
        ) {
            let mut router = Router::new();
            let mut all: Vec<Pattern> = Vec::new();
            for text in patterns {
                if let Ok(pattern) = Pattern::parse(if text.is_empty() { "/" } else { &text }) {
                    let is_new = router.add(pattern.clone(), pattern.clone()).is_ok();
                    prop_assert_eq!(is_new, all.iter().all(|other| !other.is_like(&pattern)));
                    all.extend(is_new.then_some(pattern));
                }
            }
            let found = router.find(&path).map(|(to, _)| to.clone());
            let mut fitting: Vec<_> = all.into_iter().filter(|p| p.matches(&path).is_some()).collect();
            // In words of their own: letters before braces before stars.
            fitting.sort_by_key(|p| {
                let letter = |c| match c { 'a' | 'b' => '1', '{' => '2', '*' => '3', other => other };
                let text = p.as_str().replace("{a}", "{").replace("{b}", "{");
                text.trim_end_matches('/').chars().map(letter).collect::<String>()
            });
            prop_assert_eq!(found, fitting.into_iter().next());
        }
    }
}
