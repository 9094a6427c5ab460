//! The JSON-RPC 2.0 envelope. Source: <https://www.jsonrpc.org/specification>.

use serde::{Deserialize, Serialize};

/// Error codes: those of the specification, and vrift's own above -32000.
pub mod code {
    /// The JSON does not parse.
    pub const PARSE_ERROR: i32 = -32700;
    /// It parses, but is no request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The parameters do not fit the method.
    pub const INVALID_PARAMS: i32 = -32602;
    /// The server failed.
    pub const INTERNAL_ERROR: i32 = -32603;
    /// The other side speaks another [`crate::PROTOCOL_VERSION`].
    pub const VERSION_MISMATCH: i32 = -32000;
    /// The server does not have what it needs (a damaged store, a full disk); run uncached.
    pub const UNAVAILABLE: i32 = -32001;
    /// A limit was reached.
    pub const LIMIT: i32 = -32002;
}

/// A request; without `id` a notification, which is not answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request<P> {
    /// Always `"2.0"`.
    pub jsonrpc: String,
    /// The method's name.
    pub method: String,
    /// Its parameters.
    pub params: P,
    /// The caller's number for this request.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<u64>,
}

impl<P> Request<P> {
    /// A request that wants an answer.
    pub fn new(method: &str, params: P, id: u64) -> Self {
        Self { jsonrpc: "2.0".to_owned(), method: method.to_owned(), params, id: Some(id) }
    }

    /// A notification.
    pub fn notification(method: &str, params: P) -> Self {
        Self { jsonrpc: "2.0".to_owned(), method: method.to_owned(), params, id: None }
    }
}

/// An answer: exactly one of `result` and `error`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply<R> {
    /// Always `"2.0"`.
    pub jsonrpc: String,
    /// What the method gave.
    #[serde(skip_serializing_if = "Option::is_none", default = "Option::default")]
    pub result: Option<R>,
    /// Why it gave nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<RpcError>,
    /// The request's number; `null` where it could not be read.
    pub id: Option<u64>,
}

impl<R> Reply<R> {
    /// A result.
    pub fn ok(result: R, id: Option<u64>) -> Self {
        Self { jsonrpc: "2.0".to_owned(), result: Some(result), error: None, id }
    }

    /// An error.
    pub fn err(code: i32, message: impl Into<String>, id: Option<u64>) -> Self {
        Self { jsonrpc: "2.0".to_owned(), result: None, error: Some(RpcError { code, message: message.into() }), id }
    }
}

/// An error of a method.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// One of [`code`].
    pub code: i32,
    /// A sentence for people.
    pub message: String,
}
