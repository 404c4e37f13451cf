//! Where keys live: what was asked, what is told, and whether the device bears it out.

use std::{collections::BTreeSet, sync::Arc};

use anya_provider::{Erasure, Error, KeyTemplate, Residence};

use super::truth::{Undeclared, not_declared};
use crate::{
    lab::{Home, Key, Lab, material},
    verdict::{Stop, Verdict, fail, must, passed},
};

async fn told(lab: &Arc<Lab>, key: &Key, wish: Option<Residence>) -> Result<(), Stop> {
    let spec = key.ctx.spec;
    let due = lab.capabilities.residence_for(spec, wish);
    must(due == Some(key.residence), || {
        format!(
            "a {spec} key that was to live in `{}` is said to live in `{}`",
            due.map_or("no place", Residence::name),
            key.residence
        )
    })?;
    if lab.way(spec).is_some() { lab.works(key).await } else { Ok(()) }
}

/// Each sort of key in each place, generated and imported. The capabilities list places for all sorts together, so a
/// provider may refuse a sort in one of them, but never put it elsewhere; what asks for no place must be had.
pub(crate) async fn as_asked(lab: &Arc<Lab>) -> Verdict {
    let (mut places, mut refused) = (0, BTreeSet::new());
    for spec in lab.specs() {
        let wishes = lab.capabilities.residences.iter().copied().map(Some).chain([None]);
        for wish in wishes.filter(|wish| lab.capabilities.residence_for(spec, *wish).is_some()) {
            let template = KeyTemplate { residence: wish, transferable: false };
            let mut secrets = Vec::new();
            if lab.capabilities.specs.contains(&spec) {
                secrets.push(None);
            }
            if lab.capabilities.imports.contains(&spec) {
                secrets.push(Some(material(&lab.new_secret(spec)?)));
            }
            for secret in secrets {
                match (lab.try_make(Home::Subject, &lab.fresh(spec), template, secret).await?, wish) {
                    (Ok(key), wish) => {
                        told(lab, &key, wish).await?;
                        places += 1;
                    }
                    (Err(Error::Unsupported { .. }), Some(wish)) => {
                        refused.insert(format!("no {spec} key as {wish}"));
                    }
                    (Err(error), _) => return fail(format!("make a {spec} key: {error}")),
                }
            }
        }
    }
    if !refused.is_empty() {
        let refused = refused.into_iter().collect::<Vec<_>>().join(", ");
        return passed(format!("{places} keys are where they were to be; {refused}"));
    }
    passed(format!("{places} keys are where they were to be"))
}

/// A key of which the provider says that only the device has it must be on the device's list, and the device must be
/// the one that erases it.
pub(crate) async fn device_keys_are_held(lab: &Arc<Lab>) -> Verdict {
    let mut checked = 0;
    for spec in lab.specs() {
        if lab.capabilities.residence_for(spec, Some(Residence::Device)).is_none() {
            continue;
        }
        let template = KeyTemplate { residence: Some(Residence::Device), transferable: false };
        let key = lab.obtain(spec, template).await?;
        let deadline = lab.later();
        let provider = lab.provider();
        let held = lab.get("inventory", deadline, provider.inventory(deadline)).await?;
        must(held.iter().any(|held| held.key == key.ctx.key), || {
            format!("a {spec} key is said to live in the device, and the device does not list it")
        })?;
        let ctx = lab.again(&key.ctx);
        let erased = lab.get("destroy", ctx.deadline, provider.destroy(&ctx, &key.handle)).await?;
        must(erased == Erasure::Object, || {
            format!("a {spec} key is said to live in the device, and the device erased nothing")
        })?;
        lab.gone(&key.handle);
        let held = lab.get("inventory", deadline, provider.inventory(lab.later())).await?;
        if held.iter().any(|held| held.key == key.ctx.key) {
            return fail(format!("a {spec} key is said to be erased, and the device still lists it"));
        }
        checked += 1;
    }
    if checked == 0 {
        let spec = lab.specs().first().copied().unwrap_or(anya_provider::KeySpec::Secp256k1);
        return Err(not_declared(lab, Undeclared::Residence(spec, Residence::Device)).await);
    }
    passed(format!("{checked} sorts of keys"))
}
