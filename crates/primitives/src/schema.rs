//! How the ids, times and networks look in an OpenAPI document.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use crate::{Actor, ApiKeyId, KeyId, Network, OperationId, OperatorId, TenantId, Timestamp, WalletId};

fn text(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description.to_owned()))
}

macro_rules! id_schemas {
    ($($id:ident $pattern:literal),*) => {$(
        impl PartialSchema for $id {
            fn schema() -> RefOr<Schema> {
                text("Identifier").pattern(Some($pattern)).into()
            }
        }

        impl ToSchema for $id {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($id))
            }
        }
    )*};
}

id_schemas! {
    TenantId "^ten_[0-9a-f]{32}$", OperatorId "^opr_[0-9a-f]{32}$", ApiKeyId "^ak_[0-9a-f]{32}$",
    KeyId "^key_[0-9a-f]{32}$", WalletId "^wal_[0-9a-f]{32}$", OperationId "^op_[0-9a-f]{32}$"
}

impl PartialSchema for Actor {
    fn schema() -> RefOr<Schema> {
        text("`system`, an operator's id or an API key's id")
            .pattern(Some("^(system|opr_[0-9a-f]{32}|ak_[0-9a-f]{32})$"))
            .into()
    }
}

impl ToSchema for Actor {}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        text("RFC 3339 time in UTC with milliseconds")
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Timestamp {}

impl PartialSchema for Network {
    fn schema() -> RefOr<Schema> {
        text("Bitcoin network").enum_values(Some(Self::ALL.map(Self::name))).into()
    }
}

impl ToSchema for Network {}
