//! The OpenAPI document: what the handlers say of themselves, and what holds for all of them.
//!
//! Handlers describe their own parameters, bodies and answers. What follows from a handler's shape (a body can be too
//! large, an id can be unknown, a key can lack a scope) is added here, for every operation by the same rule, so that no
//! handler can forget it.

use std::collections::{BTreeMap, BTreeSet};

use anya_api::problem::Problem;
use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, Content, Info, License, ObjectBuilder, OpenApi, Ref, RefOr, Required, Schema, Server,
        header::Header,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
        response::Response as Answer,
        schema::Type,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
        tag::Tag,
    },
};

use crate::{
    problem::MEDIA_TYPE,
    routes::{App, described},
};

/// The OpenAPI 3.1 document of the API.
pub fn openapi() -> OpenApi {
    complete(described().into_openapi())
}

/// Show the OpenAPI document.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "documentation", operation_id = "openapi", security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(crate) async fn document(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], app.document).into_response()
}

/// The document as text.
pub(crate) fn to_json(document: &OpenApi) -> String {
    // A document is strings, numbers, lists and maps with string keys; serializing those does not fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// The problem responses by status: name of the component and its description.
const PROBLEMS: [(u16, &str, &str); 15] = [
    (400, "Malformed", "The request is not HTTP or JSON as it should be"),
    (401, "Unauthenticated", "The API key is missing, unknown, expired or revoked"),
    (
        403,
        "Forbidden",
        "The API key does not allow this, or a rule says no (type `urn:anya:problem:refused`)",
    ),
    (404, "NotFound", "There is no such thing in this tenant"),
    (409, "Conflict", "The present state does not allow this"),
    (413, "BodyTooLarge", "The body is larger than 2 MiB"),
    (415, "WrongMediaType", "The body is not `application/json`"),
    (422, "Invalid", "The request makes no sense; `field` names what is wrong"),
    (429, "Exhausted", "A bound was reached; see `Retry-After`"),
    (414, "TargetTooLong", "Path and query are longer than 4 KiB"),
    (431, "HeadersTooLarge", "The headers are longer than 16 KiB"),
    (500, "Internal", "The server made a mistake"),
    (501, "Unsupported", "This server cannot do it"),
    (503, "Unavailable", "Something that is needed cannot be reached; see `Retry-After`"),
    (504, "Timeout", "The answer was not known in time; what was asked may still have been done"),
];

/// Adds what holds for all operations.
pub(crate) fn complete(mut document: OpenApi) -> OpenApi {
    let mut info = Info::new("Anya", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Bitcoin under its owner's control: keys behind providers, payments under policy and quorum, every step in a \
         tamper-evident log."
            .to_owned(),
    );
    info.license = Some(License::new("MIT OR Apache-2.0"));
    document.info = info;
    document.servers = Some(vec![Server::new("/")]);
    document.tags = Some(tags());
    for item in document.paths.paths.values_mut() {
        for (operation, changes) in operations(item) {
            complete_operation(operation, changes);
        }
    }
    complete_components(document.components.get_or_insert_with(Components::new));
    document
}

fn tags() -> Vec<Tag> {
    [
        ("tenants", "Organisations on this server"),
        ("api-keys", "Credentials of programs"),
        ("operators", "People who propose and approve"),
        ("policy", "What is allowed"),
        ("keys", "Signing keys"),
        ("providers", "The holders of keys"),
        ("wallets", "Descriptors and the coins that pay to them"),
        ("operations", "Movements of value and changes of what is allowed"),
        ("audit", "The tamper-evident log"),
        ("status", "The server, its node, and what happened"),
        ("health", "For supervisors and load balancers"),
        ("documentation", "This document"),
    ]
    .into_iter()
    .map(|(name, description)| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    })
    .collect()
}

/// The item's operations, and whether each changes anything.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    [(&mut item.get, false), (&mut item.put, true), (&mut item.post, true), (&mut item.delete, true)]
        .into_iter()
        .filter_map(|(operation, changes)| operation.as_mut().map(|operation| (operation, changes)))
}

fn complete_operation(operation: &mut Operation, changes: bool) {
    let secured = operation.security.iter().flatten().any(|requirement| *requirement != Default::default());
    let takes = |place: ParameterIn| {
        operation.parameters.iter().flatten().any(|parameter| match parameter {
            RefOr::T(parameter) => parameter.parameter_in == place,
            RefOr::Ref(_) => false,
        })
    };
    let (path, query, headers) =
        (takes(ParameterIn::Path), takes(ParameterIn::Query), takes(ParameterIn::Header));
    let body = operation.request_body.is_some();

    let mut statuses = vec![414, 431, 500, 504];
    if secured {
        statuses.extend([401, 403, 429, 501, 503]);
    }
    if path {
        statuses.extend([400, 404, 422]);
    }
    if query {
        statuses.push(422);
    }
    if headers {
        statuses.push(400);
    }
    if body {
        // A body can name what does not exist.
        statuses.extend([400, 404, 413, 415, 422]);
    }
    if changes {
        statuses.push(409);
    }
    for status in statuses {
        if let Some((_, name, _)) = PROBLEMS.iter().find(|(problem, ..)| *problem == status) {
            let reference = Ref::from_response_name(*name);
            operation.responses.responses.entry(status.to_string()).or_insert(RefOr::Ref(reference));
        }
    }
    let pages = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "cursor"));
    for (status, answer) in &mut operation.responses.responses {
        let RefOr::T(answer) = answer else { continue };
        answer
            .headers
            .insert("x-request-id".to_owned(), RefOr::Ref(Ref::new("#/components/headers/RequestId")));
        if status.starts_with('2') {
            if pages {
                answer.headers.insert("Link".to_owned(), RefOr::Ref(Ref::new("#/components/headers/Link")));
            }
        } else if answer.content.is_empty() {
            answer.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(problem_content()));
        }
    }
    let request_id = RefOr::Ref(Ref::new("#/components/parameters/RequestId"));
    operation.parameters.get_or_insert_default().push(request_id);
}

fn complete_components(components: &mut Components) {
    open_composed(&mut components.schemas);
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    for (status, name, description) in PROBLEMS {
        let mut answer = Answer::new(description);
        answer.content.insert(MEDIA_TYPE.to_owned(), RefOr::T(problem_content()));
        answer
            .headers
            .insert("x-request-id".to_owned(), RefOr::Ref(Ref::new("#/components/headers/RequestId")));
        if matches!(status, 429 | 503) {
            let seconds = text("Seconds to wait before trying again");
            answer.headers.insert("Retry-After".to_owned(), RefOr::T(seconds));
        }
        if status == 401 {
            answer.headers.insert("WWW-Authenticate".to_owned(), RefOr::T(text("`Bearer`")));
        }
        components.responses.insert(name.to_owned(), RefOr::T(answer));
    }
    let id = text("The request's id, to find it in the server's log");
    components.headers.insert("RequestId".to_owned(), RefOr::T(id));
    let link = text("`</v1/…>; rel=\"next\"` (RFC 8288); absent on the last page");
    components.headers.insert("Link".to_owned(), RefOr::T(link));
    components.parameters.insert("RequestId".to_owned(), RefOr::T(request_id_parameter()));
    components.security_schemes.insert(
        "bearer".to_owned(),
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("anya_<id>_<secret>")
                .description(Some(
                    "An API key. The names beside `bearer` are the scopes that it needs: all of one entry.",
                ))
                .build(),
        )
        .into(),
    );
}

/// Lets schemas that are composed with others have the others' properties.
///
/// A tagged variant is described as `allOf` of its content and its tag. Where the content allows no further property
/// (`deny_unknown_fields`), nothing would fit both.
fn open_composed(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let mut composed = BTreeSet::new();
    for schema in schemas.values() {
        if let RefOr::T(Schema::OneOf(variants)) = schema {
            for variant in &variants.items {
                if let RefOr::T(Schema::AllOf(parts)) = variant {
                    composed.extend(parts.items.iter().filter_map(|part| match part {
                        RefOr::Ref(part) => part.ref_location.rsplit('/').next().map(str::to_owned),
                        RefOr::T(_) => None,
                    }));
                }
            }
        }
    }
    for name in composed {
        if let Some(RefOr::T(Schema::Object(object))) = schemas.get_mut(&name) {
            object.additional_properties = None;
        }
    }
}

fn request_id_parameter() -> Parameter {
    ParameterBuilder::new()
        .name("x-request-id")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "An id of the caller's for this request; without one, or with another form, the server makes it",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,64}$"))))
        .build()
}

fn problem_content() -> Content {
    Content::new(Some(Ref::from_schema_name(Problem::name())))
}

fn text(description: &str) -> Header {
    let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
    header.description = Some(description.to_owned());
    header
}
