//! From a frame to the service and back.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;
use vrift_core::wire::{FrameError, Reply, RpcError, code, encode};

use super::Service;

/// One request.
pub struct Call<'a> {
    /// The method's name.
    pub method: &'a str,
    params: Option<&'a RawValue>,
    id: Option<u64>,
}

/// The envelope; parameters stay unparsed until the method is known.
#[derive(Deserialize)]
struct Envelope<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    method: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(default)]
    id: Option<u64>,
}

impl Call<'_> {
    /// The parameters.
    ///
    /// # Errors
    /// [`code::INVALID_PARAMS`] where they do not fit.
    pub fn params<P: DeserializeOwned>(&self) -> Result<P, RpcError> {
        let text = self.params.map_or("{}", RawValue::get);
        serde_json::from_str(text).map_err(|e| error(code::INVALID_PARAMS, format!("parameters of `{}`: {e}", self.method)))
    }

    /// The frame that answers this request with `result`.
    ///
    /// # Errors
    /// [`code::LIMIT`] where the result is too long for a frame.
    pub fn reply<R: serde::Serialize>(&self, result: &R) -> Result<Vec<u8>, RpcError> {
        encode(&Reply::ok(result, self.id)).map_err(|e| error(code::LIMIT, e.to_string()))
    }

    /// The error for a method that this daemon does not have.
    pub fn unknown(&self) -> RpcError {
        error(code::METHOD_NOT_FOUND, format!("no method `{}` here", self.method))
    }
}

/// An error to answer with.
pub fn error(code: i32, message: impl Into<String>) -> RpcError {
    RpcError { code, message: message.into() }
}

/// Parses one request, has it answered, gives the frame to send; `None` for a notification. What `working` gives for the
/// number of the request lives as long as it is worked on.
pub fn dispatch<S: Service, W>(
    service: &S,
    session: &mut S::Session,
    json: &[u8],
    working: impl FnOnce(u64) -> W,
) -> Option<Vec<u8>> {
    let envelope: Envelope<'_> = match serde_json::from_slice(json) {
        Ok(envelope) => envelope,
        Err(e) => {
            let code = if e.classify() == Category::Data { code::INVALID_REQUEST } else { code::PARSE_ERROR };
            return failed(error(code, e.to_string()), None);
        }
    };
    if envelope.jsonrpc != "2.0" {
        return failed(error(code::INVALID_REQUEST, "`jsonrpc` must be \"2.0\""), envelope.id);
    }
    let call = Call { method: &envelope.method, params: envelope.params, id: envelope.id };
    let work = envelope.id.map(working);
    let answer = service.call(session, &call);
    drop(work);
    envelope.id?;
    match answer {
        Ok(frame) => Some(frame),
        Err(e) => failed(e, envelope.id),
    }
}

fn failed(error: RpcError, id: Option<u64>) -> Option<Vec<u8>> {
    let frame: Result<_, FrameError> = encode(&Reply::<()> { jsonrpc: "2.0".to_owned(), result: None, error: Some(error), id });
    frame.ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use vrift_core::wire::FRAME_HEADER;

    use super::*;

    struct Echo;

    impl Service for Echo {
        type Session = u32;

        fn open(&self, _: i32) -> u32 {
            0
        }

        fn call(&self, calls: &mut u32, call: &Call<'_>) -> Result<Vec<u8>, RpcError> {
            *calls += 1;
            match call.method {
                "echo" => call.reply(&call.params::<Vec<u8>>()?),
                _ => Err(call.unknown()),
            }
        }

        fn closed(&self, _: u32) {}
    }

    fn say(json: &str) -> Value {
        let frame = dispatch(&Echo, &mut 0, json.as_bytes(), drop).expect("an answer");
        serde_json::from_slice(&frame[FRAME_HEADER..]).expect("json")
    }

    #[test]
    fn answers_and_errors_follow_the_specification() {
        let ok = say(r#"{"jsonrpc":"2.0","method":"echo","params":[1,2],"id":7}"#);
        assert_eq!(ok, json!({"jsonrpc": "2.0", "result": [1, 2], "id": 7}));
        for (request, code) in [
            ("{", -32700),
            ("[]", -32600),
            (r#"{"jsonrpc":"1.0","method":"echo","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"nothing","id":1}"#, -32601),
            (r#"{"jsonrpc":"2.0","method":"echo","params":{"a":1},"id":1}"#, -32602),
        ] {
            assert_eq!(say(request)["error"]["code"], json!(code), "{request}");
        }
        assert_eq!(say("{")["id"], Value::Null);
    }

    #[test]
    fn notifications_are_not_answered() {
        let mut calls = 0;
        let json = br#"{"jsonrpc":"2.0","method":"echo","params":[1]}"#;
        assert!(dispatch(&Echo, &mut calls, json, |_| unreachable!("nobody waits")).is_none());
        assert_eq!(calls, 1);
    }
}
