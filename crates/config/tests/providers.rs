//! Providers in the file: what they take, and what is refused with its line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect by failing"
)]

use std::{fs, time::Duration};

use anya_config::{Error, Layers, Loaded, ProviderKind, Secret, load};

fn read(text: &str) -> Result<Loaded, Error> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("[bitcoin]\nnetwork = \"regtest\"\n\n{text}");
    fs::write(folder.path().join("anya.toml"), text).unwrap();
    let dir = folder.path().to_str().unwrap().to_owned();
    load(&Layers { flags: vec![("data.dir", "--data-dir", dir)], ..Layers::default() })
}

fn refusal(text: &str) -> String {
    read(text).expect_err(text).to_string()
}

const TOKEN: &str = "[provider.vault]\nkind = \"pkcs11\"\nmodule = \"/usr/lib/softhsm/libsofthsm2.so\"\n\
                     profile = \"softhsm2\"\ntoken_label = \"treasury\"\npin_file = \"pins/vault\"\n";

#[test]
fn each_kind_is_read_with_its_defaults() {
    let config = read(&format!(
        "{TOKEN}environment = {{ SOFTHSM2_CONF = \"/etc/anya/softhsm2.conf\" }}\nsessions = 4\n\n\
         [provider.second]\nkind = \"software\"\nfile = \"second.json\"\npassphrase_file = \"/run/second\"\n\n\
         [provider.yubi]\nkind = \"yubihsm\"\nmodule = \"/usr/lib/yubihsm_pkcs11.so\"\ntoken_label = \"YubiHSM\"\n\
         pin_file = \"pin\"\nconnector = \"http://127.0.0.1:12345\"\npassword_file = \"password\"\nwrap_key = 0x10\n\n\
         [provider.signer]\nkind = \"enclave\"\nsocket = \"/run/anya/signer.sock\"\nsigner_key = \"{}\"\n\
         channel_key = \"channel.pem\"\nshare = \"share\"\nallow_simulated = true\n\n\
         [keys]\ndefault_provider = \"vault\"\npreference = [\"vault\", \"software\"]\ndrill_hours = 24\n",
        "ab".repeat(32)
    ))
    .unwrap()
    .config;
    assert_eq!(config.keys.default_provider, "vault");
    assert_eq!(config.keys.preference, ["vault", "software"]);
    assert_eq!(config.keys.drill_every, Duration::from_secs(24 * 3600));
    let kinds: Vec<_> =
        config.providers.iter().map(|provider| (provider.name.as_str(), &provider.kind)).collect();
    let [("second", second), ("signer", signer), ("vault", vault), ("yubi", yubi)] = kinds.as_slice() else {
        panic!("{kinds:?}")
    };
    let ProviderKind::Software { file, passphrase: Secret::File(passphrase) } = second else { panic!() };
    assert!(file.ends_with("second.json") && file.is_absolute() && passphrase.ends_with("run/second"));
    let ProviderKind::Pkcs11(vault) = vault else { panic!() };
    assert_eq!((vault.profile.as_str(), vault.sessions, vault.standby), ("softhsm2", Some(4), None));
    assert_eq!(vault.environment["SOFTHSM2_CONF"], "/etc/anya/softhsm2.conf");
    let ProviderKind::Yubihsm { pkcs11, auth_key, wrap_key, .. } = yubi else { panic!() };
    assert_eq!((pkcs11.profile.as_str(), *auth_key, *wrap_key), ("yubihsm2", 1, Some(16)));
    let ProviderKind::Enclave(signer) = signer else { panic!() };
    assert!(signer.allow_simulated && !signer.allow_simulated_on_mainnet && signer.policy.is_none());
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_the_remedy() {
    for (text, wanted) in [
        ("[provider.Vault]\nkind = \"software\"\n", "lowercase"),
        ("[provider.software]\nkind = \"software\"\n", "belongs to the keystore"),
        ("[provider.drills]\nkind = \"software\"\n", "a route of the API"),
        ("[provider]\nvault = 1\n", "a provider is a section: [provider.vault]"),
        ("[provider.vault]\nmodule = \"x\"\n", "provider.vault.kind"),
        ("[provider.vault]\nkind = \"hsm\"\n", "use one of software, pkcs11, yubihsm, enclave"),
        (
            "[provider.vault]\nkind = \"software\"\nfile = \"a\"\npassphrase = \"b\"\n",
            "did you mean passphrase_file",
        ),
        ("[provider.vault]\nkind = \"pkcs11\"\nmodule = \"a\"\ntoken_label = \"b\"\n", "pin_file"),
        (&TOKEN.replace("token_label", "token_name"), "token_label or by token_serial"),
        (&format!("{TOKEN}token_serial = \"1\"\n"), "one of them"),
        (&format!("{TOKEN}sessions = 0\n"), "from 1 to 64"),
        (&format!("{TOKEN}sessions = \"4\"\n"), "from 1 to 64"),
        (&format!("{TOKEN}standby = 1\n"), "true or false"),
        (&format!("{TOKEN}environment = [\"A=b\"]\n"), "a table of strings"),
        (
            &TOKEN.replace("softhsm2\"\ntoken", "softhsm\"\ntoken"),
            "softhsm2, yubihsm2, cloudhsm, luna, generic",
        ),
        ("[keys]\ndefault_provider = \"vault\"\n", "neither `software` nor a section"),
        ("[keys]\npreference = [\"software\", \"vault\"]\n", "names `vault`"),
    ] {
        let error = refusal(text);
        assert!(error.contains(wanted), "{text}\n{error}");
    }
    let error = refusal("[provider.vault]\nkind = \"software\"\nfile = \"a\"\nflie = \"b\"\n");
    assert!(error.contains("line 7") && error.contains("did you mean file"), "{error}");
}
