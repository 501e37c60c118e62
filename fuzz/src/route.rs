//! Patterns of paths, and which of them a path leads to.

use smartsocket_core::http::{Params, Pattern, Router};

/// `patterns and last a path`, as lines.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines: Vec<&str> = text.split('\n').collect();
    let path = lines.pop().unwrap_or_default();
    let mut patterns: Vec<Pattern> = Vec::new();
    let mut router = Router::new();
    for line in lines {
        if let Ok(pattern) = Pattern::parse(line) {
            assert_eq!(Pattern::parse(pattern.as_str()), Ok(pattern.clone()));
            if router.add(pattern.clone(), pattern.clone()).is_ok() {
                patterns.push(pattern);
            }
        }
    }
    for pattern in &patterns {
        if let Some(params) = pattern.matches(path) {
            check_params(pattern, path, &params);
        }
    }
    // The first that matches, in the router's own order, which is the same
    // whichever pattern came first.
    let matching = router
        .iter()
        .find(|(pattern, _)| pattern.matches(path).is_some());
    let found = router.find(path);
    assert_eq!(
        found.as_ref().map(|(to, _)| *to),
        matching.map(|(_, to)| to)
    );
    if let Some((to, params)) = &found {
        assert_eq!(Some(params), to.matches(path).as_ref());
    }
    let mut reversed = Router::new();
    for pattern in patterns.iter().rev() {
        let added = reversed.add(pattern.clone(), pattern.clone());
        added.expect("none is taken in whatever order");
    }
    assert_eq!(reversed.find(path), found);
}

fn check_params(pattern: &Pattern, path: &str, params: &Params) {
    let mut again = String::new();
    let mut values = params.iter();
    let own = pattern.as_str().trim_end_matches('/');
    for segment in own.split('/').skip(1) {
        again.push('/');
        match segment.strip_prefix('{') {
            Some(_) => {
                let (name, value) = values.next().expect("a value for every name");
                assert_eq!(segment, format!("{{{name}}}"));
                assert!(!value.is_empty() && !value.contains('\0') && value != "..");
                for byte in value.bytes() {
                    again += &format!("%{byte:02x}");
                }
            }
            None if segment == "*" => again.push('x'),
            None => again += segment,
        }
    }
    assert_eq!(values.next(), None);
    if again.is_empty() {
        again.push('/');
    }
    assert_eq!(
        pattern.matches(&again).as_ref(),
        Some(params),
        "{path} {again}"
    );
    // One slash more or less at the end makes no difference.
    let other = match path.strip_suffix('/') {
        Some("") => return,
        Some(path) => path.to_owned(),
        None => format!("{path}/"),
    };
    assert_eq!(pattern.matches(&other).as_ref(), Some(params));
}
