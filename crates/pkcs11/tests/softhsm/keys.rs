//! Keys in the token, and keys wrapped under it.

use anya_provider::{KeySpec, Provider, Residence};

use crate::kit::{ctx, hsm, living, open, sign_and_check};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sort_of_key_signs_where_it_may_live() {
    let hsm = hsm();
    let provider = open(&hsm).await;
    println!("{:?}", provider.capabilities());
    for spec in [KeySpec::Secp256k1, KeySpec::P256, KeySpec::Ed25519, KeySpec::Rsa3072] {
        for place in [Residence::Device, Residence::DeviceWrapped] {
            let ctx = ctx(spec);
            match provider.generate(&ctx, living(place)).await {
                Ok(key) => {
                    assert_eq!(key.residence, place);
                    sign_and_check(&provider, &ctx, &key).await;
                    println!("{spec} {place}: {} bytes of handle", key.handle.len());
                }
                Err(error) => println!("{spec} {place}: {error}"),
            }
        }
    }
}
