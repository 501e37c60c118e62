//! Encrypted sessions: the one place where their options are judged.

use smartsocket_smol::crypt::{Key, KeyRing, Suite};
use smartsocket_smol::hub::Encryption;

use super::Settings;
use super::value::Secret;

/// What is asked for; or the option at fault, and why.
///
/// Encryption is on exactly when there is a key, unless it is turned off.
/// Never is it left out silently.
pub(super) fn read(settings: &Settings) -> Result<Option<Encryption>, (&'static str, String)> {
    if settings.enable_encryption == Some(false) {
        return Ok(None);
    }
    let parse = |name, key: &Secret| {
        let key: Result<Key, _> = key.0.parse();
        key.map_err(|error| (name, format!("{error} (`smartsocket keygen` makes one)")))
    };
    let Some(key) = &settings.encryption_key else {
        return match (settings.enable_encryption, &settings.encryption_keys[..]) {
            (Some(_), _) => Err(("enableEncryption", "needs an encryptionKey".into())),
            (None, []) => Ok(None),
            (None, _) => Err(("encryptionKeys", "needs an encryptionKey as well".into())),
        };
    };
    let mut keys = KeyRing::new(parse("encryptionKey", key)?);
    if settings.encryption_keys.len() >= KeyRing::MAX {
        let most = KeyRing::MAX - 1;
        return Err(("encryptionKeys", format!("{most} at most")));
    }
    for key in &settings.encryption_keys {
        keys.add(parse("encryptionKeys", key)?);
    }
    let mut encryption = Encryption::new(keys);
    if settings.encryption_algorithm == Suite::A256Gcm.as_str() {
        // The one it likes best comes first.
        encryption.policy.suites.reverse();
    }
    encryption.group = settings.encryption_group;
    Ok(Some(encryption))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_without_who_asked_for_it() {
        let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let judged = |enable, key: Option<&str>, more: &[&str]| {
            let read = read(&Settings {
                enable_encryption: enable,
                encryption_key: key.map(|key| Secret(key.into())),
                encryption_keys: more.iter().map(|key| Secret((*key).into())).collect(),
                ..Settings::default()
            });
            read.map(|it| it.is_some()).map_err(|(name, _)| name)
        };
        assert_eq!(judged(None, None, &[]), Ok(false));
        assert_eq!(judged(Some(false), Some(good), &[]), Ok(false));
        assert_eq!(judged(Some(true), None, &[]), Err("enableEncryption"));
        assert_eq!(judged(Some(true), Some(good), &[]), Ok(true));
        assert_eq!(judged(None, Some(good), &[]), Ok(true));
        assert_eq!(judged(None, Some("short"), &[]), Err("encryptionKey"));
        assert_eq!(judged(None, None, &[good]), Err("encryptionKeys"));
        assert_eq!(judged(None, Some(good), &["short"]), Err("encryptionKeys"));
        let many = [good; KeyRing::MAX];
        assert_eq!(judged(None, Some(good), &many), Err("encryptionKeys"));
    }
}
