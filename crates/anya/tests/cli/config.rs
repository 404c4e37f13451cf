//! `config show`, and what is refused before anything starts.

use crate::support::{Place, anya_with};

#[test]
fn each_value_says_where_it_comes_from_and_secrets_are_masked() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    let file = place.path("data").join("anya.toml");
    std::fs::write(&file, "[bitcoin]\nnetwork = \"signet\"\n[node]\nuser = \"u\"\n").unwrap();
    let data = place.data();
    let variables = [("ANYA_LOG__LEVEL", "debug"), ("ANYA_NODE__PASSWORD", "hunter2")];
    let run = anya_with(&["config", "show", "--json", "--data-dir", &data], &variables);
    let shown = run.ok().json();
    let of = |key: &str| {
        let settings = shown["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap();
        (setting["value"].as_str().unwrap_or("-").to_owned(), setting["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("bitcoin.network"), ("signet".into(), format!("{}, line 2", file.display())));
    assert_eq!(of("log.level"), ("debug".into(), "environment variable ANYA_LOG__LEVEL".into()));
    assert_eq!(of("data.dir"), (data.clone(), "flag --data-dir".into()));
    assert_eq!(of("log.format"), ("text".into(), "default".into()));
    assert_eq!(of("node.password"), ("********".into(), "environment variable ANYA_NODE__PASSWORD".into()));
    assert!(!run.stdout.contains("hunter2"));
    let text = anya_with(&["config", "show", "--data-dir", &data], &variables);
    assert!(text.ok().stdout.contains("********") && !text.stdout.contains("hunter2"));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    std::fs::write(place.path("data").join("anya.toml"), "[node]\ncookiefile = \"x\"\n").unwrap();
    let run = place.run(&["config", "show"]);
    run.refused(3, "line 2").refused(3, "did you mean node.cookie_file?");
    let place = Place::new();
    let data = place.data();
    anya_with(&["config", "show", "--data-dir", &data], &[("ANYA_NODE__ULR", "http://x:1")])
        .refused(3, "did you mean ANYA_NODE__URL?");
    anya_with(&["serve", "--data-dir", &data], &[("ANYA_LOG__LEVEL", "loud")])
        .refused(3, "one of error, warn");
}
