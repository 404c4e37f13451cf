//! The `yubihsm` crate, a client that somebody else wrote, against the simulator.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anya_yubihsm_sim::{Latency, Options, Simulator};
use yubihsm::{
    Capability, Client, Connector, Credentials, Domain,
    asymmetric::Algorithm as KeyAlgorithm,
    connector::HttpConfig,
    device,
    object::{Label, Type},
};

/// The password's derivation takes a while without optimisation.
fn credentials() -> Credentials {
    static DEFAULT: OnceLock<Credentials> = OnceLock::new();
    DEFAULT.get_or_init(Credentials::default).clone()
}

fn connector(simulator: &Simulator) -> Connector {
    let config = HttpConfig { addr: "127.0.0.1".to_owned(), port: simulator.port(), ..HttpConfig::default() };
    Connector::http(&config)
}

fn client(simulator: &Simulator) -> Client {
    Client::open(connector(simulator), credentials(), false).unwrap()
}

fn generate(client: &Client, id: u16) -> Result<u16, yubihsm::client::Error> {
    let label = Label::from_bytes(b"key").unwrap();
    client.generate_asymmetric_key(id, label, Domain::DOM1, Capability::SIGN_ECDSA, KeyAlgorithm::EcK256)
}

fn reason<T>(outcome: Result<T, yubihsm::client::Error>) -> device::ErrorKind {
    let error = outcome.err().expect("it should have failed");
    error.device_error().unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn objects_fill_the_device_and_no_more() {
    let simulator = Simulator::start(Options::default());
    let client = client(&simulator);
    for id in 0x100..0x1ff {
        assert_eq!(generate(&client, id).unwrap(), id);
    }
    let storage = client.get_storage_info().unwrap();
    assert_eq!((storage.total_records, storage.free_records), (256, 0));
    assert_eq!(reason(generate(&client, 0x1ff)), device::ErrorKind::StorageFailed, "the 257th");
    client.delete_object(0x100, Type::AsymmetricKey).unwrap();
    assert_eq!(reason(client.get_public_key(0x100)), device::ErrorKind::ObjectNotFound);
    let any = generate(&client, 0).unwrap();
    assert!(any != 0 && !(0x101..0x1ff).contains(&any));
    client.delete_object(any, Type::AsymmetricKey).unwrap();
    generate(&client, 0x100).unwrap();
    let again = client.get_object_info(0x100, Type::AsymmetricKey).unwrap();
    assert_eq!((again.sequence, again.length, again.label.to_string().as_str()), (1, 96, "key"));
    assert_eq!(client.list_objects(&[]).unwrap().len(), 256);
}

#[test]
fn sixteen_sessions_are_all_and_an_idle_one_ends() {
    let options = Options { idle_expiry: Duration::from_millis(1500), ..Options::default() };
    let simulator = Simulator::start(options);
    let sessions: Vec<Client> = (0..16).map(|_| client(&simulator)).collect();
    let seventeenth = Client::open(connector(&simulator), credentials(), false);
    assert!(seventeenth.is_err(), "the seventeenth");
    let used = Instant::now();
    while used.elapsed() < Duration::from_millis(2000) {
        sessions[0].echo(vec![1]).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
    assert!(sessions[1].echo(vec![1]).is_err(), "it was idle");
    sessions[0].echo(vec![2]).unwrap();
    client(&simulator).echo(vec![3]).unwrap();
}

#[test]
fn a_wrong_password_opens_nothing() {
    let simulator = Simulator::start(Options::default());
    let wrong = Credentials::from_password(1, b"passwore");
    assert!(Client::open(connector(&simulator), wrong, false).is_err());
    assert!(Client::open(connector(&simulator), Credentials::from_password(9, b"password"), false).is_err());
}

#[test]
fn other_keys_and_data_do_what_they_say() {
    let simulator = Simulator::start(Options::default());
    let client = client(&simulator);
    let label = || Label::from_bytes(b"x").unwrap();
    let rights = Capability::SIGN_HMAC | Capability::VERIFY_HMAC;
    // RFC 4231, test case 1.
    client
        .put_hmac_key(5, label(), Domain::DOM1, rights, yubihsm::hmac::Algorithm::Sha256, vec![0x0b; 20])
        .unwrap();
    let tag = client.sign_hmac(5, b"Hi There".to_vec()).unwrap();
    assert_eq!(hex::encode(tag.as_ref()), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    client.verify_hmac(5, b"Hi There".to_vec(), tag.clone()).unwrap();
    assert!(client.verify_hmac(5, b"Hi Theres".to_vec(), tag).is_err());

    let rights = Capability::WRAP_DATA | Capability::UNWRAP_DATA;
    let delegated = Capability::all();
    client
        .generate_wrap_key(6, label(), Domain::DOM1, rights, delegated, yubihsm::wrap::Algorithm::Aes256Ccm)
        .unwrap();
    let sealed = client.wrap_data(6, b"some data".to_vec()).unwrap();
    assert_eq!(sealed.ciphertext.len(), 9 + 16, "a tag of 16 bytes");
    assert_eq!(client.unwrap_data(6, sealed.clone()).unwrap(), b"some data");
    let mut spoilt = sealed;
    spoilt.ciphertext[0] ^= 1;
    assert_eq!(reason(client.unwrap_data(6, spoilt)), device::ErrorKind::AuthenticationFailed);

    let data = yubihsm::opaque::Algorithm::Data;
    client.put_opaque(7, label(), Domain::DOM1, Capability::empty(), data, vec![9; 500]).unwrap();
    assert_eq!(client.get_opaque(7).unwrap(), [9; 500]);
    assert_eq!(client.get_pseudo_random(32).unwrap().len(), 32);
    client.blink_device(1).unwrap();
}

#[test]
fn what_it_remembers_survives_a_restart_when_it_has_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { state_file: Some(folder.path().join("device.json")), ..Options::default() };
    let (public, root) = {
        let simulator = Simulator::start(options());
        let client = client(&simulator);
        generate(&client, 4).unwrap();
        (client.get_public_key(4).unwrap(), simulator.root_certificate())
    };
    let simulator = Simulator::start(options());
    let client = client(&simulator);
    let again = client.get_public_key(4).unwrap();
    assert_eq!(again.as_ref(), public.as_ref());
    client.sign_ecdsa_prehash_raw(4, vec![7; 32]).unwrap();
    let boots = simulator.log().iter().filter(|entry| entry.command == 0).count();
    assert_eq!(boots, 2);
    assert_eq!(simulator.root_certificate(), root, "a device has one identity");
    client.reset_device().unwrap();
    drop(client);
    assert_eq!(simulator.log().len(), 2);
    assert_eq!(self::client(&simulator).list_objects(&[]).unwrap().len(), 1);
}

#[test]
fn faults_are_felt_and_pass() {
    let simulator = Simulator::start(Options::default());
    let open = || Client::open(connector(&simulator), credentials(), false);
    generate(&open().unwrap(), 4).unwrap();

    // By hand: that client waits twenty seconds, whatever it is told.
    simulator.hang();
    let mut stream = TcpStream::connect(("127.0.0.1", simulator.port())).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.write_all(b"GET /connector/status HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 1]).is_err());
    simulator.resume();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut late = String::new();
    stream.read_to_string(&mut late).unwrap();
    assert!(late.starts_with("HTTP/1.1 200 OK") && late.contains("status=OK\n"), "{late}");

    let client = open().unwrap();
    simulator.drop_connections(true);
    assert!(client.echo(vec![1]).is_err());
    simulator.drop_connections(false);

    let client = open().unwrap();
    simulator.lose_sessions();
    assert!(client.echo(vec![1]).is_err());

    simulator.stop();
    assert!(open().is_err());
    simulator.restart().unwrap();
    let client = open().unwrap();
    simulator.power_cycle();
    assert!(client.echo(vec![1]).is_err());

    let client = open().unwrap();
    let honest = client.sign_ecdsa_prehash_raw(4, vec![7; 32]).unwrap();
    assert!(k256::ecdsa::DerSignature::try_from(&honest[..]).is_ok());
    let public = client.get_public_key(4).unwrap().ecdsa::<k256::Secp256k1>().unwrap();
    let key = k256::ecdsa::VerifyingKey::from_encoded_point(&public).unwrap();
    let good = |signature: &[u8]| {
        use k256::ecdsa::signature::hazmat::PrehashVerifier;
        let signature = k256::ecdsa::Signature::from_der(signature).unwrap();
        key.verify_prehash(&[7; 32], &signature.normalize_s().unwrap_or(signature)).is_ok()
    };
    assert!(good(&honest));
    simulator.spoil_signatures(true);
    assert!(!good(&client.sign_ecdsa_prehash_raw(4, vec![7; 32]).unwrap()));
    simulator.spoil_signatures(false);

    simulator.set_latency(Latency::Fixed(Duration::from_millis(50)));
    let asked = Instant::now();
    client.echo(vec![1]).unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(50));

    simulator.lie_about_log(Vec::clear);
    assert!(client.get_log_entries().unwrap().entries.is_empty());
    simulator.tell_the_truth();
    assert!(!client.get_log_entries().unwrap().entries.is_empty());
}
