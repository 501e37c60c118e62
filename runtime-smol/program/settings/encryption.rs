//! Encrypted sessions: the one place where their options are judged.

use super::Settings;

/// Whether what is asked for can be had: the option at fault, and why.
///
/// Encryption is on exactly when there is a key, unless it is turned off.
/// Never is it left out silently.
pub(super) fn check(settings: &Settings) -> Result<(), (&'static str, &'static str)> {
    match (settings.enable_encryption, &settings.encryption_key) {
        (Some(false), _) | (None, None) => Ok(()),
        (Some(true), None) => Err(("enableEncryption", "needs an encryptionKey")),
        (Some(true) | None, Some(_)) => Err((
            "encryptionKey",
            "encrypted sessions are not there yet: use TLS (tlsCert, tlsKey), \
             and say enableEncryption = false",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::value::Secret;

    #[test]
    fn nobody_goes_without_who_asked_for_it() {
        let judged = |enable, key: bool| {
            check(&Settings {
                enable_encryption: enable,
                encryption_key: key.then(|| Secret("k".into())),
                ..Settings::default()
            })
            .map_err(|(name, _)| name)
        };
        assert_eq!(judged(None, false), Ok(()));
        assert_eq!(judged(Some(false), true), Ok(()));
        assert_eq!(judged(Some(true), false), Err("enableEncryption"));
        assert_eq!(judged(Some(true), true), Err("encryptionKey"));
        assert_eq!(judged(None, true), Err("encryptionKey"));
    }
}
