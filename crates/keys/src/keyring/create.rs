//! Keys are made, taken in, and given to further providers.
//!
//! What a device is about to make is recorded first: should the power fail between its work and our record of it, the
//! orphan is known by that ([`reconcile`](super::reconcile)). A key exists only once every provider that shall hold it
//! has signed with it; when one cannot, what the others have made is erased again.

use std::sync::Arc;

use anya_primitives::{KeyId, TenantId, Timestamp};
use anya_provider::{
    Generated, ImportMaterial, KeyContext, KeySpec, KeyTemplate, PublicMaterial, TransferScheme,
};
use anya_store::TenantTx;

use super::{Keyring, context, within, wrong};
use crate::{
    error::{Error, Result},
    key::{KeyInfo, MAX_REPLICAS, NewKey, Replica},
    pool::member::Member,
    row::{self, KeyRow},
    state::KeyState,
};

/// What one provider has made.
struct Share {
    member: Arc<Member>,
    handle: Vec<u8>,
    replica: Replica,
}

impl Keyring {
    /// Makes a new key. `record` runs in the ledger transaction that stores it.
    pub async fn generate<E, R>(&self, tenant: TenantId, new: NewKey, record: R) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.add(tenant, new, None, None, record).await
    }

    /// Takes in a secret from outside. `record` runs in the ledger transaction that stores it.
    pub async fn import<E, R>(
        &self,
        tenant: TenantId,
        new: NewKey,
        material: ImportMaterial,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        self.add(tenant, new, Some(material), None, record).await
    }

    pub(super) async fn add<E, R>(
        &self,
        tenant: TenantId,
        new: NewKey,
        material: Option<ImportMaterial>,
        predecessor: Option<KeyId>,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let members = self.holders_for(&new, material.is_some())?;
        self.add_with(&members, tenant, new, material, predecessor, record).await
    }

    /// A key of the server's own at a provider that need not be in the pool.
    pub(super) async fn add_at(
        &self,
        member: &Arc<Member>,
        tenant: TenantId,
        new: NewKey,
    ) -> Result<KeyInfo> {
        self.add_with(std::slice::from_ref(member), tenant, new, None, None, |_, _| Ok::<_, Error>(())).await
    }

    async fn add_with<E, R>(
        &self,
        members: &[Arc<Member>],
        tenant: TenantId,
        new: NewKey,
        material: Option<ImportMaterial>,
        predecessor: Option<KeyId>,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let now = self.clock.now();
        new.check(now)?;
        // Before a provider spends a slot on it; the unique index decides between two at once.
        if self.find(tenant, &new.name).await?.is_some() {
            return Err(Error::NameTaken(new.name).into());
        }
        let id = KeyId::new();
        self.intend(tenant, id, members, now).await?;
        let (public, shares) = match self.obtain(tenant, id, &new, members, material).await {
            Ok(obtained) => obtained,
            Err(error) => return Err(error.into()),
        };
        let pending = new.dates.activates_at.is_some_and(|at| at > now);
        let info = KeyInfo {
            id,
            name: new.name,
            spec: new.spec,
            replicas: shares.iter().map(|share| share.replica.clone()).collect(),
            public,
            state: if pending { KeyState::PreActivation } else { KeyState::Active },
            version: 1,
            transferable: new.transferable || !new.replicas.is_empty(),
            usage: new.usage,
            created_at: now,
            updated_at: now,
            activates_at: new.dates.activates_at,
            deactivates_at: new.dates.deactivates_at,
            rotate_seconds: new
                .dates
                .rotate_after
                .map(|after| u32::try_from(after.as_secs()).unwrap_or(u32::MAX)),
            compromised_at: None,
            destroyed_at: None,
            predecessor,
            successor: None,
        };
        let handles =
            shares.iter().map(|share| (share.replica.provider.clone(), share.handle.clone())).collect();
        let stored = KeyRow { info: info.clone(), handles };
        let written = self
            .ledger
            .write(tenant, move |tx| -> Result<(), E> {
                row::insert(tx, &stored)?;
                row::intended(tx, stored.info.id)?;
                if let Some(before) = predecessor {
                    let mut before = row::get(tx, before)?.info;
                    before.successor = Some(stored.info.id);
                    before.updated_at = now;
                    row::update(tx, &before)?;
                }
                record(tx, &stored.info)
            })
            .await;
        if let Err(error) = written {
            self.undo(tenant, id, info.spec, shares).await;
            return Err(error);
        }
        if let Some(before) = predecessor {
            self.rows.invalidate(&(tenant, before));
        }
        Ok(info)
    }

    /// The providers that shall hold a key, the one that makes it first, if each is able to.
    fn holders_for(&self, new: &NewKey, import: bool) -> Result<Vec<Arc<Member>>> {
        let mut members = Vec::with_capacity(1 + new.replicas.len());
        for name in std::iter::once(&new.provider).chain(&new.replicas) {
            let member = self.member(name)?;
            let capabilities = member.provider.capabilities();
            let first = members.is_empty();
            if first && !import && !capabilities.specs.contains(&new.spec) {
                return Err(member.provider.unsupported(format!("make {} keys", new.spec)).into());
            }
            if import && !capabilities.imports.contains(&new.spec) {
                return Err(member.provider.unsupported(format!("import {} keys", new.spec)).into());
            }
            let wish = new.residence.filter(|_| first);
            if capabilities.residence_for(new.spec, wish).is_none() {
                let place = wish.map_or_else(String::new, |wish| format!(" in {wish}"));
                return Err(member.provider.unsupported(format!("hold {} keys{place}", new.spec)).into());
            }
            members.push(member);
        }
        if let Some(first) = members.first().filter(|_| !import) {
            for other in members.iter().skip(1) {
                scheme(first, other)?;
            }
        }
        Ok(members)
    }

    async fn intend(
        &self,
        tenant: TenantId,
        key: KeyId,
        members: &[Arc<Member>],
        now: Timestamp,
    ) -> Result<()> {
        let names: Vec<_> = members.iter().map(|member| member.id().to_owned()).collect();
        self.ledger
            .write(tenant, move |tx| names.iter().try_for_each(|name| row::intend(tx, key, name, now)))
            .await
    }

    /// Has every provider make or take in the key, and prove that it can use it.
    async fn obtain(
        &self,
        tenant: TenantId,
        key: KeyId,
        new: &NewKey,
        members: &[Arc<Member>],
        material: Option<ImportMaterial>,
    ) -> Result<(PublicMaterial, Vec<Share>)> {
        let mut shares: Vec<Share> = Vec::with_capacity(members.len());
        let mut public: Option<PublicMaterial> = None;
        for member in members {
            let first = shares.first();
            let template = KeyTemplate {
                residence: new.residence.filter(|_| first.is_none()),
                transferable: new.transferable || members.len() > 1,
            };
            let ctx = context(tenant, key, 1, new.spec, self.deadlines.generate);
            let made = match (&material, first) {
                (Some(material), _) => {
                    let import = member.provider.import(&ctx, template, material.duplicate());
                    within(member.id(), self.deadlines.generate, import).await.map_err(Error::from)
                }
                (None, None) => {
                    let generate = member.provider.generate(&ctx, template);
                    within(member.id(), self.deadlines.generate, generate).await.map_err(Error::from)
                }
                (None, Some(source)) => {
                    self.transfer(&ctx, &source.member, &source.handle, member, template).await
                }
            };
            let share = match made {
                Ok(made) => self.accept(member, &ctx, &mut public, template, made).await,
                Err(error) => Err(error),
            };
            let share = match (share, first) {
                (Ok(share), Some(source)) if new.spec == KeySpec::Aes256 => {
                    let same =
                        self.same_cipher_key(&ctx, (&source.member, &source.handle), (member, &share.handle));
                    match same.await {
                        Ok(()) => Ok(share),
                        Err(error) => {
                            self.erase_made(member, &ctx, &share.handle).await;
                            Err(error)
                        }
                    }
                }
                (share, _) => share,
            };
            match share {
                Ok(share) => shares.push(share),
                Err(error) => {
                    self.undo(tenant, key, new.spec, shares).await;
                    return Err(error);
                }
            }
        }
        let public = public.ok_or(Error::internal("a key without holders"))?;
        Ok((public, shares))
    }

    /// Believes that a provider holds the key once it has signed under the public key that is already known. What it
    /// made and cannot show is erased.
    async fn accept(
        &self,
        member: &Arc<Member>,
        ctx: &KeyContext,
        public: &mut Option<PublicMaterial>,
        template: KeyTemplate,
        made: Generated,
    ) -> Result<Share> {
        let fault = if made.public.spec() != ctx.spec {
            Some("a public key of another sort")
        } else if public.as_ref().is_some_and(|public| *public != made.public) {
            Some("a replica with another public key")
        } else if template.residence.is_some_and(|wish| wish != made.residence) {
            Some("a key that lives elsewhere than was asked for")
        } else {
            None
        };
        let proof = match fault {
            Some(fault) => Err(wrong(member.id(), fault).into()),
            None => self.prove(member, ctx, &made.handle, &made.public).await,
        };
        if let Err(error) = proof {
            self.erase_made(member, ctx, &made.handle).await;
            return Err(error);
        }
        public.get_or_insert(made.public);
        let replica = Replica {
            provider: member.id().to_owned(),
            residence: made.residence,
            proved_at: self.clock.now(),
            erased_at: None,
        };
        Ok(Share { member: member.clone(), handle: made.handle, replica })
    }

    async fn transfer(
        &self,
        ctx: &KeyContext,
        source: &Arc<Member>,
        handle: &[u8],
        target: &Arc<Member>,
        template: KeyTemplate,
    ) -> Result<Generated> {
        let scheme = scheme(source, target)?;
        let wait = self.deadlines.generate;
        let offer = within(target.id(), wait, target.provider.transfer_offer(ctx, scheme)).await?;
        let out = source.provider.transfer_out(ctx, handle, scheme, &offer.public);
        let transfer = within(source.id(), wait, out).await?;
        let taken_in = target.provider.transfer_in(ctx, template, &offer.ticket, &transfer);
        let made = within(target.id(), wait, taken_in).await?;
        Ok(made)
    }

    /// AES keys have no public part to compare: what one seals the other must open.
    async fn same_cipher_key(
        &self,
        ctx: &KeyContext,
        (source, handle): (&Arc<Member>, &[u8]),
        (target, other): (&Arc<Member>, &[u8]),
    ) -> Result<()> {
        let challenge = super::sign::challenge()?;
        let wait = self.deadlines.sign;
        let sealed =
            within(source.id(), wait, source.provider.encrypt(ctx, handle, b"replica", &challenge)).await?;
        let opened = target.provider.decrypt(ctx, other, b"replica", &sealed);
        match within(target.id(), wait, opened).await {
            Ok(opened) if opened.as_slice() == challenge => Ok(()),
            Ok(_) | Err(anya_provider::Error::Decrypt) => {
                Err(wrong(target.id(), "a replica that does not open what the key sealed").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Gives a key to one more provider. `record` runs in the ledger transaction that stores it.
    ///
    /// # Errors
    /// [`NotTransferable`](anya_provider::Error::NotTransferable) for a key that was made to stay where it is.
    pub async fn add_replica<E, R>(
        &self,
        tenant: TenantId,
        key: KeyId,
        provider: &str,
        record: R,
    ) -> Result<KeyInfo, E>
    where
        E: From<Error> + From<anya_store::Error> + Send + 'static,
        R: FnOnce(&TenantTx<'_>, &KeyInfo) -> Result<(), E> + Send + 'static,
    {
        let row = self.row(tenant, key).await?;
        let info = &row.info;
        if !info.state.protects() {
            let (state, act) = (info.state, "be given to another provider");
            return Err(Error::State { key, state, act }.into());
        }
        if info.replicas.iter().any(|replica| replica.provider == provider) {
            let reason = format!("`{provider}` holds the key already");
            return Err(Error::invalid("provider", reason).into());
        }
        if info.replicas.len() >= MAX_REPLICAS {
            return Err(Error::invalid("provider", format!("at most {MAX_REPLICAS} hold one key")).into());
        }
        if !info.transferable {
            return Err(Error::from(anya_provider::Error::NotTransferable(info.provider().to_owned())).into());
        }
        let target = self.member(provider)?;
        let holders = self.pool.holders(&row.handles);
        let (source, handle) = holders
            .iter()
            .find(|(member, _)| member.is_ready() && scheme(member, &target).is_ok())
            .ok_or_else(|| {
                let act =
                    "take this key: no provider that holds it can give it in a form that this one reads";
                Error::from(target.provider.unsupported(act.to_owned()))
            })?;
        let now = self.clock.now();
        self.intend(tenant, key, std::slice::from_ref(&target), now).await?;
        let ctx = self.context(tenant, info, self.deadlines.generate);
        let template = KeyTemplate { residence: None, transferable: true };
        let made = self.transfer(&ctx, source, handle, &target, template).await?;
        let mut public = Some(info.public.clone());
        let share = self.accept(&target, &ctx, &mut public, template, made).await?;
        if info.spec == KeySpec::Aes256
            && let Err(error) = self.same_cipher_key(&ctx, (source, handle), (&target, &share.handle)).await
        {
            self.erase_made(&target, &ctx, &share.handle).await;
            return Err(error.into());
        }
        let (replica, handle) = (share.replica.clone(), share.handle.clone());
        let written = self
            .ledger
            .write(tenant, move |tx| -> Result<KeyInfo, E> {
                let mut info = row::get(tx, key)?.info;
                if !info.state.protects() {
                    let (state, act) = (info.state, "be given to another provider");
                    return Err(Error::State { key, state, act }.into());
                }
                row::insert_replica(tx, key, info.replicas.len(), &replica, &handle)?;
                row::intended_with(tx, key, &replica.provider)?;
                info.replicas.push(replica);
                info.updated_at = now;
                row::update(tx, &info)?;
                record(tx, &info)?;
                Ok(info)
            })
            .await;
        self.rows.invalidate(&(tenant, key));
        if written.is_err() {
            self.erase_made(&share.member, &ctx, &share.handle).await;
        }
        written
    }

    /// Erases what was made for a key that does not come to be.
    async fn undo(&self, tenant: TenantId, key: KeyId, spec: KeySpec, shares: Vec<Share>) {
        let ctx = context(tenant, key, 1, spec, self.deadlines.generate);
        let mut clean = true;
        for share in shares {
            clean &= self.erase_made(&share.member, &ctx, &share.handle).await;
        }
        // Otherwise the intent stays, and says what to look for.
        if clean && let Err(error) = self.ledger.write(tenant, move |tx| row::intended(tx, key)).await {
            tracing::warn!(%key, %error, "the intent to make a key was not taken back");
        }
    }

    async fn erase_made(&self, member: &Arc<Member>, ctx: &KeyContext, handle: &[u8]) -> bool {
        let erased = within(member.id(), self.deadlines.generate, member.provider.destroy(ctx, handle)).await;
        if let Err(error) = &erased {
            tracing::error!(
                provider = member.id(), key = %ctx.key, %error,
                "a key that did not come to be was not erased: reconcile the provider"
            );
        }
        erased.is_ok()
    }
}

/// A form in which `source` gives keys and `target` takes them.
fn scheme(source: &Member, target: &Member) -> Result<TransferScheme> {
    let given = &source.provider.capabilities().transfers;
    let taken = &target.provider.capabilities().transfers;
    given.iter().copied().find(|scheme| taken.contains(scheme)).ok_or_else(|| {
        let act =
            format!("take keys from provider `{}`: they have no form of transfer in common", source.id());
        target.provider.unsupported(act).into()
    })
}
