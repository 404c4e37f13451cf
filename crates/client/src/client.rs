//! The routes, one method each.

use anya_api::{
    access::{ApiKey, CreatedApiKey, NewApiKey},
    audit::Entry,
    ballot::SignedBallot,
    key::{
        AttestationRequest, Key, KeyAttestation, KeyDates, KeyDestruction, KeyProof, KeySignature,
        KeyStateChange, KeyUsage, NewKey, NewReplica, SignatureRequest,
    },
    operation::{Operation, OperationFilter, Proposal, PsbtDocument, Simulation},
    page::{Page, PageQuery},
    people::{CreatedTenant, NewTenant, Operator, Tenant},
    policy::PolicyVersion,
    provider::{
        Drill, DrillRequest, KekRequest, KekStatus, Provider, ProviderUse, Reconciliation,
        ReconciliationRequest, ReloadReport, RewrapReport,
    },
    status::{Event, FeeEstimates, Status},
    wallet::{
        Address, AddressCheck, Balance, CheckQuery, Coin, ExportQuery, LabelsTaken, NewAddress, NewLabels,
        NewWallet, Wallet, WalletFile, WalletLabel, WalletMeaning, WalletTransaction,
    },
};
use anya_primitives::{ApiKeyId, KeyId, OperationId, OperatorId, WalletId};
use hyper::Method;
use secrecy::SecretString;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    endpoint::Endpoint,
    error::Error,
    query::{query_string, segment},
    transport::{Call, Deadlines, Transport},
};

/// A connection to one server under one token.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
}

/// The answer to a proposal.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// The operation.
    pub operation: Operation,
    /// Whether an earlier call with the same idempotency key had proposed it.
    pub replayed: bool,
}

#[derive(Serialize)]
struct EventQuery {
    after: u64,
    limit: u32,
}

impl Client {
    /// A client. It connects at its first call.
    pub fn new(
        endpoint: &Endpoint,
        token: Option<&SecretString>,
        deadlines: Deadlines,
    ) -> Result<Self, Error> {
        Transport::new(endpoint, token, deadlines).map(|transport| Self { transport })
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Error> {
        let call = Call { method: Method::GET, path, body: None, idempotency_key: None };
        self.transport.call(call).await.map(|(value, _)| value)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let call = Call { method, path, body: Some(self.json(body)?), idempotency_key: None };
        self.transport.call(call).await.map(|(value, _)| value)
    }

    async fn bare<T: DeserializeOwned>(&self, method: Method, path: String) -> Result<T, Error> {
        let call = Call { method, path, body: None, idempotency_key: None };
        self.transport.call(call).await.map(|(value, _)| value)
    }

    fn json(&self, body: &impl Serialize) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(body).map_err(|error| self.transport.protocol(error.to_string()))
    }

    /// Creates a tenant, with the API key that can set it up.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<CreatedTenant, Error> {
        self.send(Method::POST, "/v1/tenants".into(), new).await
    }

    /// Lists tenants.
    pub async fn tenants(&self, query: &PageQuery) -> Result<Page<Tenant>, Error> {
        self.get(format!("/v1/tenants{}", query_string(query))).await
    }

    /// Creates an API key.
    pub async fn create_api_key(&self, new: &NewApiKey) -> Result<CreatedApiKey, Error> {
        self.send(Method::POST, "/v1/api-keys".into(), new).await
    }

    /// Lists API keys.
    pub async fn api_keys(&self, query: &PageQuery) -> Result<Page<ApiKey>, Error> {
        self.get(format!("/v1/api-keys{}", query_string(query))).await
    }

    /// Revokes an API key.
    pub async fn revoke_api_key(&self, id: ApiKeyId) -> Result<ApiKey, Error> {
        let path = format!("/v1/api-keys/{id}");
        let call = Call { method: Method::DELETE, path, body: None, idempotency_key: None };
        self.transport.call(call).await.map(|(key, _)| key)
    }

    /// Lists operators.
    pub async fn operators(&self, query: &PageQuery) -> Result<Page<Operator>, Error> {
        self.get(format!("/v1/operators{}", query_string(query))).await
    }

    /// Shows an operator.
    pub async fn operator(&self, id: OperatorId) -> Result<Operator, Error> {
        self.get(format!("/v1/operators/{id}")).await
    }

    /// Shows the policy in force.
    pub async fn policy(&self) -> Result<PolicyVersion, Error> {
        self.get("/v1/policy".into()).await
    }

    /// Lists the policies that were in force, newest first.
    pub async fn policy_versions(&self, query: &PageQuery) -> Result<Page<PolicyVersion>, Error> {
        self.get(format!("/v1/policy/versions{}", query_string(query))).await
    }

    /// Creates a key.
    pub async fn create_key(&self, new: &NewKey) -> Result<Key, Error> {
        self.send(Method::POST, "/v1/keys".into(), new).await
    }

    /// Lists keys.
    pub async fn keys(&self, query: &PageQuery) -> Result<Page<Key>, Error> {
        self.get(format!("/v1/keys{}", query_string(query))).await
    }

    /// Shows a key.
    pub async fn key(&self, id: KeyId) -> Result<Key, Error> {
        self.get(format!("/v1/keys/{id}")).await
    }

    /// Moves a key to another state.
    pub async fn set_key_state(&self, id: KeyId, change: &KeyStateChange) -> Result<Key, Error> {
        self.send(Method::PUT, format!("/v1/keys/{id}/state"), change).await
    }

    /// Makes a key's rules narrower.
    pub async fn set_key_usage(&self, id: KeyId, usage: &KeyUsage) -> Result<Key, Error> {
        self.send(Method::PUT, format!("/v1/keys/{id}/usage"), usage).await
    }

    /// Sets a key's dates anew.
    pub async fn set_key_dates(&self, id: KeyId, dates: &KeyDates) -> Result<Key, Error> {
        self.send(Method::PUT, format!("/v1/keys/{id}/dates"), dates).await
    }

    /// Gives a key to one more provider.
    pub async fn add_key_replica(&self, id: KeyId, new: &NewReplica) -> Result<Key, Error> {
        self.send(Method::POST, format!("/v1/keys/{id}/replicas"), new).await
    }

    /// Has every provider that holds a key sign a challenge with it.
    pub async fn prove_key(&self, id: KeyId) -> Result<KeyProof, Error> {
        self.bare(Method::POST, format!("/v1/keys/{id}/proof")).await
    }

    /// Has another key follow a key.
    pub async fn rotate_key(&self, id: KeyId) -> Result<Key, Error> {
        self.bare(Method::POST, format!("/v1/keys/{id}/rotation")).await
    }

    /// Shows what is known of a key's destruction.
    pub async fn key_destruction(&self, id: KeyId) -> Result<KeyDestruction, Error> {
        self.get(format!("/v1/keys/{id}/destruction")).await
    }

    /// Fetches a provider's evidence of where a key lives.
    pub async fn attest_key(&self, id: KeyId, request: &AttestationRequest) -> Result<KeyAttestation, Error> {
        self.send(Method::POST, format!("/v1/keys/{id}/attestation"), request).await
    }

    /// Has a key sign without an approval.
    pub async fn sign(&self, id: KeyId, request: &SignatureRequest) -> Result<KeySignature, Error> {
        self.send(Method::POST, format!("/v1/keys/{id}/signatures"), request).await
    }

    /// Lists providers.
    pub async fn providers(&self, query: &PageQuery) -> Result<Page<Provider>, Error> {
        self.get(format!("/v1/providers{}", query_string(query))).await
    }

    /// Shows a provider.
    pub async fn provider(&self, name: &str) -> Result<Provider, Error> {
        self.get(format!("/v1/providers/{}", segment(name))).await
    }

    /// Takes a provider out of use, or puts it back.
    pub async fn set_provider_use(&self, name: &str, change: &ProviderUse) -> Result<Provider, Error> {
        self.send(Method::PUT, format!("/v1/providers/{}/use", segment(name)), change).await
    }

    /// Has a provider asked first.
    pub async fn prefer_provider(&self, name: &str) -> Result<Provider, Error> {
        self.bare(Method::PUT, format!("/v1/providers/{}/preference", segment(name))).await
    }

    /// Compares what a provider's device holds with the ledger.
    pub async fn reconcile_provider(
        &self,
        name: &str,
        request: &ReconciliationRequest,
    ) -> Result<Reconciliation, Error> {
        self.send(Method::POST, format!("/v1/providers/{}/reconciliation", segment(name)), request).await
    }

    /// Shows the generations of a provider's sealing key.
    pub async fn kek(&self, name: &str) -> Result<KekStatus, Error> {
        self.get(format!("/v1/providers/{}/kek", segment(name))).await
    }

    /// Makes a new generation of a provider's sealing key.
    pub async fn rotate_kek(&self, name: &str, request: &KekRequest) -> Result<KekStatus, Error> {
        self.send(Method::POST, format!("/v1/providers/{}/kek", segment(name)), request).await
    }

    /// Seals every key of a provider under the newest generation.
    pub async fn rewrap_keys(&self, name: &str) -> Result<RewrapReport, Error> {
        self.bare(Method::POST, format!("/v1/providers/{}/kek/rewrap", segment(name))).await
    }

    /// Erases an old generation of a provider's sealing key.
    pub async fn retire_kek(
        &self,
        name: &str,
        generation: u32,
        request: &KekRequest,
    ) -> Result<KekStatus, Error> {
        let path = format!("/v1/providers/{}/kek/{generation}", segment(name));
        self.send(Method::DELETE, path, request).await
    }

    /// Drills the failover between providers.
    pub async fn drill_providers(&self, request: &DrillRequest) -> Result<Drill, Error> {
        self.send(Method::POST, "/v1/providers/drills".into(), request).await
    }

    /// Lists the drills that were, newest first.
    pub async fn drills(&self, query: &PageQuery) -> Result<Page<Drill>, Error> {
        self.get(format!("/v1/providers/drills{}", query_string(query))).await
    }

    /// Has the configuration of the providers read anew.
    pub async fn reload_providers(&self) -> Result<ReloadReport, Error> {
        self.bare(Method::POST, "/v1/providers/reload".into()).await
    }

    /// Creates a wallet.
    pub async fn create_wallet(&self, new: &NewWallet) -> Result<Wallet, Error> {
        self.send(Method::POST, "/v1/wallets".into(), new).await
    }

    /// Says what a new wallet would be.
    pub async fn preview_wallet(&self, new: &NewWallet) -> Result<WalletMeaning, Error> {
        self.send(Method::POST, "/v1/wallets/preview".into(), new).await
    }

    /// Says what a wallet's descriptor means.
    pub async fn wallet_meaning(&self, id: WalletId) -> Result<WalletMeaning, Error> {
        self.get(format!("/v1/wallets/{id}/descriptor")).await
    }

    /// Writes a wallet in a form that other wallets read.
    pub async fn export_wallet(&self, id: WalletId, query: &ExportQuery) -> Result<WalletFile, Error> {
        self.get(format!("/v1/wallets/{id}/export{}", query_string(query))).await
    }

    /// Shows one address with what every signer should find of it.
    pub async fn check_address(&self, id: WalletId, query: &CheckQuery) -> Result<AddressCheck, Error> {
        self.get(format!("/v1/wallets/{id}/address-check{}", query_string(query))).await
    }

    /// Lists wallets.
    pub async fn wallets(&self, query: &PageQuery) -> Result<Page<Wallet>, Error> {
        self.get(format!("/v1/wallets{}", query_string(query))).await
    }

    /// Shows a wallet.
    pub async fn wallet(&self, id: WalletId) -> Result<Wallet, Error> {
        self.get(format!("/v1/wallets/{id}")).await
    }

    /// Makes a receive address.
    pub async fn new_address(&self, id: WalletId, new: &NewAddress) -> Result<Address, Error> {
        self.send(Method::POST, format!("/v1/wallets/{id}/addresses"), new).await
    }

    /// Lists a wallet's receive addresses.
    pub async fn addresses(&self, id: WalletId, query: &PageQuery) -> Result<Page<Address>, Error> {
        self.get(format!("/v1/wallets/{id}/addresses{}", query_string(query))).await
    }

    /// Shows a wallet's balance.
    pub async fn balance(&self, id: WalletId) -> Result<Balance, Error> {
        self.get(format!("/v1/wallets/{id}/balance")).await
    }

    /// Lists a wallet's coins.
    pub async fn coins(&self, id: WalletId, query: &PageQuery) -> Result<Page<Coin>, Error> {
        self.get(format!("/v1/wallets/{id}/coins{}", query_string(query))).await
    }

    /// Lists a wallet's labels.
    pub async fn labels(&self, id: WalletId, query: &PageQuery) -> Result<Page<WalletLabel>, Error> {
        self.get(format!("/v1/wallets/{id}/labels{}", query_string(query))).await
    }

    /// Hands labels in, as BIP329 has them.
    pub async fn import_labels(&self, id: WalletId, new: &NewLabels) -> Result<LabelsTaken, Error> {
        self.send(Method::POST, format!("/v1/wallets/{id}/labels"), new).await
    }

    /// Lists a wallet's transactions.
    pub async fn transactions(
        &self,
        id: WalletId,
        query: &PageQuery,
    ) -> Result<Page<WalletTransaction>, Error> {
        self.get(format!("/v1/wallets/{id}/transactions{}", query_string(query))).await
    }

    /// Proposes an operation. The same key with the same proposal answers the same operation.
    pub async fn propose(&self, idempotency_key: &str, proposal: &Proposal) -> Result<Proposed, Error> {
        let call = Call {
            method: Method::POST,
            path: "/v1/operations".into(),
            body: Some(self.json(proposal)?),
            idempotency_key: Some(idempotency_key.to_owned()),
        };
        let (operation, head) = self.transport.call(call).await?;
        Ok(Proposed { operation, replayed: head.headers.contains_key("idempotency-replayed") })
    }

    /// Shows what a proposal would meet.
    pub async fn simulate(&self, proposal: &Proposal) -> Result<Simulation, Error> {
        self.send(Method::POST, "/v1/operations/simulate".into(), proposal).await
    }

    /// Lists operations, newest first.
    pub async fn operations(&self, filter: &OperationFilter) -> Result<Page<Operation>, Error> {
        self.get(format!("/v1/operations{}", query_string(filter))).await
    }

    /// Shows an operation.
    pub async fn operation(&self, id: OperationId) -> Result<Operation, Error> {
        self.get(format!("/v1/operations/{id}")).await
    }

    /// Hands in a signed ballot.
    pub async fn decide(&self, id: OperationId, ballot: &SignedBallot) -> Result<Operation, Error> {
        self.send(Method::POST, format!("/v1/operations/{id}/ballots"), ballot).await
    }

    /// Withdraws an operation.
    pub async fn cancel(&self, id: OperationId) -> Result<Operation, Error> {
        let path = format!("/v1/operations/{id}/cancel");
        let call = Call { method: Method::POST, path, body: None, idempotency_key: None };
        self.transport.call(call).await.map(|(operation, _)| operation)
    }

    /// Fetches an operation's PSBT.
    pub async fn psbt(&self, id: OperationId) -> Result<PsbtDocument, Error> {
        self.get(format!("/v1/operations/{id}/psbt")).await
    }

    /// Hands in an operation's PSBT with more signatures.
    pub async fn import_psbt(&self, id: OperationId, psbt: &PsbtDocument) -> Result<Operation, Error> {
        self.send(Method::PUT, format!("/v1/operations/{id}/psbt"), psbt).await
    }

    /// Lists audit entries.
    pub async fn audit_entries(&self, query: &PageQuery) -> Result<Page<Entry>, Error> {
        self.get(format!("/v1/audit/entries{}", query_string(query))).await
    }

    /// Lists events after the one numbered `after`.
    pub async fn events(&self, after: u64, limit: u32) -> Result<Vec<Event>, Error> {
        self.get(format!("/v1/events{}", query_string(&EventQuery { after, limit }))).await
    }

    /// Shows fee estimates.
    pub async fn fee_estimates(&self) -> Result<FeeEstimates, Error> {
        self.get("/v1/fees".into()).await
    }

    /// Shows how the server is doing.
    pub async fn status(&self) -> Result<Status, Error> {
        self.get("/v1/status".into()).await
    }
}
