//! Any number of Bitcoin nodes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests say what they expect by failing")]

use std::path::Path;

use anya_config::{Layers, Loaded, NodeAuth, Secret, load};

fn read(folder: &Path, file: &str) -> Result<Loaded, String> {
    std::fs::write(folder.join("anya.toml"), file).unwrap();
    let dir = folder.to_str().unwrap().to_owned();
    let layers = Layers { flags: vec![("data.dir", "--data-dir", dir)], ..Layers::default() };
    load(&layers).map_err(|error| error.to_string())
}

#[test]
fn the_section_itself_is_a_node_and_each_section_under_it_another() {
    let folder = tempfile::tempdir().unwrap();
    let one = read(folder.path(), "[node]\ncookie_file = \"a.cookie\"\n").unwrap().config.node;
    assert_eq!(one.entries.len(), 1);
    assert_eq!(
        (one.entries[0].name.as_str(), one.entries[0].url.as_str()),
        ("node", "http://127.0.0.1:8332")
    );

    let file = "[node]\ncookie_file = \"a.cookie\"\n\n\
        [node.rack-2]\nurl = \"http://10.0.0.2:8332/\"\nuser = \"anya\"\npassword_file = \"two\"\n\n\
        [node.attic]\nurl = \"http://10.0.0.3:8332\"\ncookie_file = \"/run/three/.cookie\"\n";
    let node = read(folder.path(), file).unwrap().config.node;
    let shown: Vec<_> = node.entries.iter().map(|entry| (entry.name.as_str(), entry.url.as_str())).collect();
    let expected = [
        ("node", "http://127.0.0.1:8332"),
        ("attic", "http://10.0.0.3:8332"),
        ("rack-2", "http://10.0.0.2:8332"),
    ];
    assert_eq!(shown, expected);
    assert!(
        matches!(&node.entries[1].auth, NodeAuth::Cookie(path) if path == Path::new("/run/three/.cookie"))
    );
    match &node.entries[2].auth {
        NodeAuth::Password { user, password: Secret::File(path) } => {
            assert_eq!((user.as_str(), path.as_path()), ("anya", folder.path().join("two").as_path()));
        }
        other => panic!("{other:?}"),
    }

    let file = "[node.only]\nurl = \"http://10.0.0.2:8332\"\ncookie_file = \"c\"\n";
    let node = read(folder.path(), file).unwrap().config.node;
    assert_eq!(node.entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["only"]);
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    for (file, expected) in [
        ("[node.a]\ncookie_file = \"c\"\n", "node.a.url"),
        ("[node.a]\nurl = \"http://h:1\"\n", "one of the two"),
        ("[node.a]\nurl = \"http://h:1\"\nuser = \"u\"\n", "one of the two"),
        (
            "[node.a]\nurl = \"http://h:1\"\ncookie_file = \"c\"\nuser = \"u\"\npassword_file = \"p\"\n",
            "one of the two",
        ),
        ("[node.a]\nurl = \"10.0.0.1\"\ncookie_file = \"c\"\n", "expected http://HOST:PORT"),
        (
            "[node.a]\nurl = \"http://h:1\"\ncookie_file = \"c\"\ncookie = \"d\"\n",
            "line 4): a node has no such setting",
        ),
        ("[node.a]\nurl = \"http://h:1\"\nuser = \"u\"\npassword = \"d\"\n", "mode 0600"),
        ("[node.a]\nurl = \"http://h:1\"\ncookie_file = 7\n", "line 3): expected a string"),
        ("[node.A]\nurl = \"http://h:1\"\ncookie_file = \"c\"\n", "lowercase"),
        (
            "[node]\ncookie_file = \"c\"\n[node.node]\nurl = \"http://h:1\"\ncookie_file = \"c\"\n",
            "choose another",
        ),
        (
            "[node]\nurl = \"http://h:2\"\n[node.a]\nurl = \"http://h:1\"\ncookie_file = \"c\"\n",
            "without a way to log in",
        ),
        (
            "[node.a]\nurl = \"http://h:1\"\ncookie_file = \"c\"\n[node.b]\nurl = \"http://h:1\"\ncookie_file = \"c\"\n",
            "two nodes",
        ),
    ] {
        let refusal = read(folder.path(), file).unwrap_err();
        assert!(refusal.contains(expected), "{file}\n{refusal}");
    }
}
