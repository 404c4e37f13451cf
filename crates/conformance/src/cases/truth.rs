//! What is declared fits together, and what is not declared is `unsupported`.

use std::sync::Arc;

use anya_provider::{
    Algorithm, Attestation, Error, HdMode, KeyContext, KeySpec, KeyTemplate, Message, ProviderKind,
    Residence, SignRequest, Transfer, TransferScheme,
};
use bitcoin::bip32::DerivationPath;

use crate::{
    ask::{Ask, variants},
    lab::{Home, Lab, material},
    verdict::{Refusal, Stop, Verdict, must, passed},
};

/// Every scheme there is.
pub(crate) const SCHEMES: [TransferScheme; 2] = [TransferScheme::RsaAesKeyWrap, TransferScheme::YubihsmWrap];

/// The parts of the declaration contradict neither each other nor the sort of provider.
pub(crate) async fn declared(lab: &Arc<Lab>) -> Verdict {
    let told = &lab.capabilities;
    let provider = lab.provider();
    must(!provider.id().is_empty() && !told.product.is_empty(), || {
        "it has no name or no product".to_owned()
    })?;
    must(!told.specs.is_empty(), || "it generates no sort of key".to_owned())?;
    must(told.objective.p50 <= told.objective.p99 && !told.objective.p50.is_zero(), || {
        "its objective is zero, or its p99 is shorter than its p50".to_owned()
    })?;
    must(told.max_keys != Some(0), || "it has room for no key".to_owned())?;
    for algorithm in &told.algorithms {
        must(!lab.specs_for(*algorithm).is_empty(), || {
            format!("{} is declared, and no sort of key that computes it", algorithm.name())
        })?;
    }
    for spec in lab.specs() {
        must(lab.way(spec).is_some(), || format!("{spec} keys are declared, and no algorithm for them"))?;
        must(told.residence_for(spec, None).is_some(), || {
            format!("{spec} keys are declared, and no place where one could live")
        })?;
    }
    let trees = lab.specs().contains(&KeySpec::Bip32Seed);
    must(trees == (told.hd != HdMode::None), || {
        "BIP32 roots and a way to derive from them are declared one without the other".to_owned()
    })?;
    for place in &told.residences {
        must(plausible(told.kind, told.attestation, *place), || {
            format!("a {} provider cannot keep keys in place `{place}`", told.kind.name())
        })?;
    }
    must(provider.capabilities() == told, || "its capabilities change while it runs".to_owned())?;
    Ok(None)
}

/// Whether such a provider can have such a place. An enclave that nothing attests is a process.
fn plausible(kind: ProviderKind, attestation: Attestation, place: Residence) -> bool {
    match (kind, place) {
        (ProviderKind::Software, place) => place == Residence::ServerMemory,
        (ProviderKind::Pkcs11 | ProviderKind::Yubihsm, place) => {
            matches!(place, Residence::Device | Residence::DeviceWrapped | Residence::WorkerMemory)
        }
        (ProviderKind::Enclave, Residence::Enclave) => attestation == Attestation::Quote,
        (ProviderKind::Enclave, place) => place == Residence::SignerProcess,
        _ => true,
    }
}

/// One thing that a provider may not declare.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undeclared {
    Spec(KeySpec),
    Import(KeySpec),
    Algorithm(Algorithm),
    Hd,
    Residence(KeySpec, Residence),
    Transfer(TransferScheme),
    Kek,
    Attestation,
}

/// What it is called in a report.
fn asked(what: Undeclared) -> String {
    match what {
        Undeclared::Spec(spec) => format!("generate a {spec} key"),
        Undeclared::Import(spec) => format!("import a {spec} key"),
        Undeclared::Algorithm(algorithm) => format!("compute {}", algorithm.name()),
        Undeclared::Hd => "derive a BIP32 key".to_owned(),
        Undeclared::Residence(spec, place) => format!("make a {spec} key in place `{place}`"),
        Undeclared::Transfer(scheme) => format!("transfer a key by {scheme:?}"),
        Undeclared::Kek => "renew the sealing key".to_owned(),
        Undeclared::Attestation => "attest a key".to_owned(),
    }
}

/// Asks for what is not declared, in each way there is.
async fn probe(lab: &Arc<Lab>, what: Undeclared) -> Result<Vec<Result<(), Error>>, Stop> {
    let provider = lab.provider();
    let act = asked(what);
    Ok(match what {
        Undeclared::Spec(spec) => {
            let ctx = lab.fresh(spec);
            vec![lab.try_make(Home::Subject, &ctx, KeyTemplate::default(), None).await?.map(drop)]
        }
        Undeclared::Import(spec) => {
            let (ctx, secret) = (lab.fresh(spec), lab.new_secret(spec)?);
            let made = lab.try_make(Home::Subject, &ctx, KeyTemplate::default(), Some(material(&secret)));
            vec![made.await?.map(drop)]
        }
        Undeclared::Algorithm(algorithm) => {
            let mut answers = Vec::new();
            let told = &lab.capabilities;
            let cannot = |spec: &KeySpec| spec.allows(algorithm) && !told.computes(*spec, algorithm);
            for spec in KeySpec::ALL.into_iter().filter(cannot) {
                let (ctx, handle) = if lab.specs().contains(&spec) {
                    let key = lab.shared(spec).await?;
                    (lab.again(&key.ctx), key.handle.clone())
                } else {
                    (lab.again(&lab.fresh(spec)), vec![0; 32])
                };
                for variant in variants(algorithm)? {
                    let ask = Ask::random(spec, variant)?;
                    let request = ask.request();
                    let call = provider.sign(&ctx, &handle, &request);
                    answers.push(lab.answer(&act, ctx.deadline, call).await?.map(drop));
                }
                if algorithm == Algorithm::Aes256Gcm {
                    let call = provider.encrypt(&ctx, &handle, b"", b"text");
                    answers.push(lab.answer(&act, ctx.deadline, call).await?.map(drop));
                    let call = provider.decrypt(&ctx, &handle, b"", &[0; 48]);
                    answers.push(lab.answer(&act, ctx.deadline, call).await?.map(drop));
                }
            }
            answers
        }
        Undeclared::Hd => {
            let ctx = lab.again(&lab.fresh(KeySpec::Bip32Seed));
            let path = DerivationPath::master();
            let call = provider.derive_public(&ctx, &[0; 32], &path);
            vec![lab.answer(&act, ctx.deadline, call).await?.map(drop)]
        }
        Undeclared::Residence(spec, place) => {
            let template = KeyTemplate { residence: Some(place), transferable: false };
            let mut answers = Vec::new();
            if lab.capabilities.specs.contains(&spec) {
                answers.push(lab.try_make(Home::Subject, &lab.fresh(spec), template, None).await?.map(drop));
            }
            if lab.capabilities.imports.contains(&spec) {
                let secret = material(&lab.new_secret(spec)?);
                let ctx = lab.fresh(spec);
                let made = lab.try_make(Home::Subject, &ctx, template, Some(secret)).await?;
                answers.push(made.map(drop));
            }
            answers
        }
        Undeclared::Transfer(scheme) => transfer_probe(lab, scheme, &act).await?,
        Undeclared::Kek => {
            let deadline = lab.soon();
            let mut answers = vec![
                lab.answer(&act, deadline, provider.kek_status(deadline)).await?.map(drop),
                lab.answer(&act, deadline, provider.rotate_kek(None, deadline)).await?.map(drop),
                lab.answer(&act, deadline, provider.retire_kek(0, None, deadline)).await?.map(drop),
            ];
            let (ctx, handle) = some_key(lab).await?;
            answers.push(lab.answer(&act, ctx.deadline, provider.rewrap(&ctx, &handle)).await?.map(drop));
            answers
        }
        Undeclared::Attestation => {
            let (ctx, handle) = some_key(lab).await?;
            let call = provider.attest(&ctx, &handle, &[7; 32]);
            vec![lab.answer(&act, ctx.deadline, call).await?.map(drop)]
        }
    })
}

async fn some_key(lab: &Arc<Lab>) -> Result<(KeyContext, Vec<u8>), Stop> {
    let Some(spec) = lab.specs().into_iter().next() else {
        return Err(Stop::Failed("no sort of key is declared".to_owned()));
    };
    let key = lab.shared(spec).await?;
    Ok((lab.again(&key.ctx), key.handle.clone()))
}

async fn transfer_probe(
    lab: &Arc<Lab>,
    scheme: TransferScheme,
    act: &str,
) -> Result<Vec<Result<(), Error>>, Stop> {
    let provider = lab.provider();
    let (ctx, handle) = some_key(lab).await?;
    let public = lab.plausible_offer(scheme)?;
    let new = lab.again(&lab.fresh(ctx.spec));
    let wrapped = Transfer { scheme, wrapped: vec![0; 480] };
    let mut answers = vec![
        lab.answer(act, new.deadline, provider.transfer_offer(&new, scheme)).await?.map(drop),
        lab.answer(act, ctx.deadline, provider.transfer_out(&ctx, &handle, scheme, &public)).await?.map(drop),
    ];
    let call = provider.transfer_in(&new, KeyTemplate::default(), &[0; 32], &wrapped);
    let taken = lab.answer(act, new.deadline, call).await?;
    answers.push(taken.map(|generated| drop(lab.keep(Home::Subject, &new, generated))));
    Ok(answers)
}

/// The end of a case whose subject matter is not declared.
pub(crate) async fn not_declared(lab: &Arc<Lab>, what: Undeclared) -> Stop {
    let because = format!("it does not declare that it can {}", asked(what));
    let answered = match probe(lab, what).await {
        Ok(answers) => answers.into_iter().next().map(|answer| match answer {
            Ok(()) => "it did it".to_owned(),
            Err(error) => error.to_string(),
        }),
        Err(Stop::Failed(reason)) => Some(reason),
        Err(_) => None,
    };
    Stop::NotApplicable { because, answered }
}

/// Judges what is answered to each of `all`.
async fn judge(lab: &Arc<Lab>, all: Vec<Undeclared>) -> Verdict {
    let mut refusals = Vec::new();
    let mut faults = Vec::new();
    for what in all {
        for answer in probe(lab, what).await? {
            match Refusal::Undeclared.expect(asked(what), answer) {
                Ok(refusal) => refusals.push(refusal),
                Err(Stop::Failed(fault)) => faults.push(fault),
                Err(other) => return Err(other),
            }
        }
    }
    faults.dedup();
    must(faults.is_empty(), || faults.join("; "))?;
    let count = refusals.len();
    match refusals.into_iter().next() {
        None => passed("everything of this sort is declared"),
        Some(first) => passed(format!("{count} refused, the first: {first}")),
    }
}

pub(crate) async fn specs(lab: &Arc<Lab>) -> Verdict {
    let told = &lab.capabilities.specs;
    judge(lab, KeySpec::ALL.into_iter().filter(|spec| !told.contains(spec)).map(Undeclared::Spec).collect())
        .await
}

pub(crate) async fn imports(lab: &Arc<Lab>) -> Verdict {
    let told = &lab.capabilities.imports;
    judge(lab, KeySpec::ALL.into_iter().filter(|spec| !told.contains(spec)).map(Undeclared::Import).collect())
        .await
}

pub(crate) async fn algorithms(lab: &Arc<Lab>) -> Verdict {
    judge(lab, Algorithm::ALL.into_iter().map(Undeclared::Algorithm).collect()).await
}

pub(crate) async fn hd(lab: &Arc<Lab>) -> Verdict {
    judge(lab, if lab.capabilities.hd == HdMode::None { vec![Undeclared::Hd] } else { vec![] }).await
}

pub(crate) async fn residences(lab: &Arc<Lab>) -> Verdict {
    let mut all = Vec::new();
    for spec in lab.specs() {
        for place in Residence::ALL {
            if lab.capabilities.residence_for(spec, Some(place)).is_none() {
                all.push(Undeclared::Residence(spec, place));
            }
        }
    }
    judge(lab, all).await
}

pub(crate) async fn transfers(lab: &Arc<Lab>) -> Verdict {
    let told = &lab.capabilities.transfers;
    judge(lab, SCHEMES.into_iter().filter(|one| !told.contains(one)).map(Undeclared::Transfer).collect())
        .await
}

pub(crate) async fn kek(lab: &Arc<Lab>) -> Verdict {
    judge(lab, if lab.capabilities.kek_rotation { vec![] } else { vec![Undeclared::Kek] }).await
}

pub(crate) async fn attestation(lab: &Arc<Lab>) -> Verdict {
    let none = lab.capabilities.attestation == Attestation::None;
    judge(lab, if none { vec![Undeclared::Attestation] } else { vec![] }).await
}

impl Lab {
    /// Sorts of keys that compute `algorithm`, or the end of the case.
    pub(crate) async fn needs_algorithm(
        self: &Arc<Self>,
        algorithm: Algorithm,
    ) -> Result<Vec<KeySpec>, Stop> {
        let specs = self.specs_for(algorithm);
        if specs.is_empty() {
            return Err(not_declared(self, Undeclared::Algorithm(algorithm)).await);
        }
        Ok(specs)
    }

    pub(crate) async fn needs_import(self: &Arc<Self>, spec: KeySpec) -> Result<(), Stop> {
        if !self.capabilities.imports.contains(&spec) {
            return Err(not_declared(self, Undeclared::Import(spec)).await);
        }
        Ok(())
    }

    pub(crate) async fn needs_hd(self: &Arc<Self>) -> Result<(), Stop> {
        if !self.derives() {
            return Err(not_declared(self, Undeclared::Hd).await);
        }
        Ok(())
    }

    /// A refusal of what the key of `ctx` cannot be asked.
    pub(crate) async fn refuses_to_sign(
        self: &Arc<Self>,
        ctx: &KeyContext,
        handle: &[u8],
        request: &SignRequest<'_>,
        refusal: Refusal,
        what: &str,
    ) -> Result<String, Stop> {
        let provider = self.provider();
        let answer = self.answer(what, ctx.deadline, provider.sign(ctx, handle, request)).await?;
        refusal.expect(what, answer)
    }
}

/// Whether a message is a digest: used where requests of the wrong form are made.
pub(crate) fn wrong_form(algorithm: Algorithm) -> Option<Message<'static>> {
    match algorithm {
        Algorithm::EcdsaSecp256k1 | Algorithm::SchnorrSecp256k1 => Some(Message::Bytes(b"not a digest")),
        Algorithm::Ed25519 | Algorithm::RsaPssSha256 => Some(Message::Digest([3; 32])),
        Algorithm::EcdsaP256 | Algorithm::Aes256Gcm => None,
    }
}
