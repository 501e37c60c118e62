//! Encrypted sessions: the one place where their options are judged.

use smartsocket_smol::crypt::{Key, KeyRing, Suite};
use smartsocket_smol::hub::Encryption;

use super::Settings;
use super::value::Secret;

/// What is asked for; or the option at fault, and why.
///
/// Encryption is on exactly when there is a key, or when it is said that there
/// is to be none, unless it is turned off. Never is it left out silently.
pub(super) fn read(settings: &Settings) -> Result<Option<Encryption>, (&'static str, String)> {
    if settings.enable_encryption == Some(false) {
        return Ok(None);
    }
    let parse = |name, key: &Secret| {
        let key: Result<Key, _> = key.0.parse();
        key.map_err(|error| (name, format!("{error} (`smartsocket keygen` makes one)")))
    };
    let exchange = &settings.encryption_exchange[..];
    let mut encryption = match (&settings.encryption_key, &settings.encryption_keys[..]) {
        (Some(_), _) if exchange == "only" => {
            let text = "only goes without an encryptionKey; required is with one";
            return Err(("encryptionExchange", text.into()));
        }
        (Some(key), older) => {
            let mut keys = KeyRing::new(parse("encryptionKey", key)?);
            if older.len() >= KeyRing::MAX {
                let most = KeyRing::MAX - 1;
                return Err(("encryptionKeys", format!("{most} at most")));
            }
            for key in older {
                keys.add(parse("encryptionKeys", key)?);
            }
            Encryption::new(keys)
        }
        (None, [_, ..]) => {
            return Err(("encryptionKeys", "needs an encryptionKey as well".into()));
        }
        (None, []) if exchange == "only" => Encryption::exchange(),
        (None, []) if exchange == "required" => {
            return Err(("encryptionExchange", "needs an encryptionKey".into()));
        }
        (None, []) if settings.enable_encryption == Some(true) => {
            return Err(("enableEncryption", "needs an encryptionKey".into()));
        }
        (None, []) => return Ok(None),
    };
    encryption.policy.require_exchange = exchange == "required";
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
        let settings = |enable, key: Option<&str>, more: &[&str]| Settings {
            enable_encryption: enable,
            encryption_key: key.map(|key| Secret(key.into())),
            encryption_keys: more.iter().map(|key| Secret((*key).into())).collect(),
            ..Settings::default()
        };
        let judged = |enable, key, more: &[&str]| {
            let read = read(&settings(enable, key, more));
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

        // With a key, and whether an exchange is asked for.
        let exchanged = |exchange: &str, enable, key| {
            let read = read(&Settings {
                encryption_exchange: exchange.into(),
                ..settings(enable, key, &[])
            });
            read.map(|it| it.map(|it| (it.keys.is_some(), it.policy.require_exchange)))
                .map_err(|(name, _)| name)
        };
        let none = Err("encryptionExchange");
        assert_eq!(
            exchanged("optional", None, Some(good)),
            Ok(Some((true, false)))
        );
        assert_eq!(
            exchanged("required", None, Some(good)),
            Ok(Some((true, true)))
        );
        assert_eq!(exchanged("required", None, None), none);
        assert_eq!(exchanged("only", None, None), Ok(Some((false, false))));
        assert_eq!(
            exchanged("only", Some(true), None),
            Ok(Some((false, false)))
        );
        assert_eq!(exchanged("only", None, Some(good)), none);
        assert_eq!(exchanged("only", Some(false), None), Ok(None));
    }
}
